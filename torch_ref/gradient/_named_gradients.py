"""Gradients by path."""

from typing import Any

from torch_ref.gradient._parameter_gradient import parameter_gradient


def named_gradients(loss_fn: Any, params: Any, *data: Any) -> dict[str, Any]:
    """Walk the nested dictionary of gradients and join the keys on the way to each leaf."""
    named: dict[str, Any] = {}

    def walk(tree: Any, path: str) -> None:
        if not isinstance(tree, dict):
            named[path] = tree
            return
        for key in tree:
            walk(tree[key], f"{path}/{key}" if path else key)

    walk(parameter_gradient(loss_fn, params, *data), "")
    return named

"""curvlinops as a rival: its operators on the networks' modules; optional."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["product"]


def product(kind: str, module: nn.Module, vector: Any, inputs: Any, labels: Any) -> Callable[[], Any]:
    """Return the product of one of its operators with a vector, or several along a leading axis, as a function.

    The result is a tree like the vector. The check that a loss is deterministic is left out: it costs two products.
    """
    import curvlinops

    operators = {
        "hvp": curvlinops.HessianLinearOperator,
        "ggn_product": curvlinops.GGNLinearOperator,
        "fisher_product": curvlinops.EFLinearOperator,
    }
    names = [name.split(".") for name, _ in module.named_parameters()]
    parameters = [parameter for _, parameter in module.named_parameters()]
    operator = operators[kind](
        module, nn.CrossEntropyLoss(), parameters, [(inputs, labels)], check_deterministic=False, progressbar=False
    )
    leaves = [_at(vector, path) for path in names]
    several = leaves[0].ndim > parameters[0].ndim
    # its columns are the vectors
    given = [leaf.movedim(0, -1).contiguous() if several else leaf for leaf in leaves]

    def tree(results: list[torch.Tensor]) -> Any:
        out: dict[str, Any] = {}
        for path, result in zip(names, results, strict=True):
            node = out
            for key in path[:-1]:
                node = node.setdefault(key, {})
            node[path[-1]] = result.movedim(-1, 0) if several else result
        return out

    return lambda: tree(operator @ given)


def _at(tree: Any, path: list[str]) -> Any:
    """Return a leaf by its path."""
    for key in path:
        tree = tree[key]
    return tree

"""What an adapter returns, and the checks that both adapters share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxgrad import _tree
from jaxgrad._types import Tree

__all__ = ["Model", "StatefulModel"]


class Model(NamedTuple):
    """A network as a pure function of its parameters; unpacks as a pair."""

    apply_fn: Callable[..., Any]
    """``apply_fn(params, *inputs, **options) -> output``."""
    params: dict[str, Any]
    """The parameters, a plain nested dictionary."""


class StatefulModel(NamedTuple):
    """A network whose state goes in and comes out; unpacks as a triple."""

    apply_fn: Callable[..., tuple[Any, dict[str, Any]]]
    """``apply_fn(params, state, *inputs, **options) -> (output, new_state)``."""
    params: dict[str, Any]
    """The parameters, a plain nested dictionary."""
    state: dict[str, Any]
    """Everything that is no parameter: running statistics, caches, in NNX also random keys and their counts."""


def name_after(apply_fn: Callable[..., Any], module: Any) -> None:
    """Name a function after the module that it applies, for profiles and messages."""
    apply_fn.__name__ = apply_fn.__qualname__ = f"apply_{type(module).__name__}"


def kind_of(module: Any) -> str:
    """Return what was given where an instance of a module was expected."""
    return f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"


def same_leaves(argument: str, tree: Tree, paths: list[str]) -> None:
    """Refuse a tree that lacks a leaf of the module, or has one that the module does not know.

    Raises:
        ValueError: With every such leaf.
    """
    found = _tree.leaf_paths(tree)
    if found == paths:
        return
    lines = [f"{path} is missing" for path in paths if path not in found]
    lines += [f"{path} is not a leaf of the module" for path in found if path not in paths]
    if lines:
        message = "\n  ".join([f"{argument} does not fit the module that it was made for:", *lines])
        raise ValueError(message)


def flax_promotion() -> Any:
    """Return a context in which Flax's own layers work: its norms mix float32 with the dtype of their input.

    Strict promotion refuses that in float64, whatever the module's ``dtype``.
    """
    return jax.numpy_dtype_promotion("standard")


def try_once(apply_fn: Callable[..., Any], *args: Any) -> None:
    """Trace a function abstractly, so that its complaints come before it is used."""
    jax.eval_shape(lambda *traced: apply_fn(*traced), *args)

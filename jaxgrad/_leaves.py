"""What is said of leaves that JAX takes otherwise than their giver thinks, or not at all: by their path."""

import warnings
from typing import Any

import jax
import jax.tree_util as jtu
import numpy as np

from jaxgrad import _check, _static

__all__ = ["PADDED", "explain"]

SPLIT = (
    "split it off, as by equinox.partition(module, equinox.is_inexact_array), and combine the parts inside of the loss"
)
"""What to do with a leaf of a module that is no weight."""

PADDED = "padded to one shape and stacked, with a mask that the loss weighs its examples with"
"""What is done with data of unequal shape."""

_warned: set[tuple[str, ...]] = set()


def explain(name: str, given: dict[str, Any]) -> None:
    """Refuse leaves that JAX cannot take, by path, and warn of float64 that x64 mode would keep.

    Raises:
        TypeError: If a leaf is a string, an array of another framework, the keys of a dictionary do not sort, or a
            number stands for a random key.
    """
    doubled: list[str] = []
    for argument, tree in given.items():
        try:
            leaves = jtu.tree_leaves_with_path(tree)
        except ValueError as error:
            message = f"{name}: {argument} cannot be flattened; do its dictionaries mix keys of several types? {error}"
            raise TypeError(message) from None
        if argument == "params":
            _refuse_state(name, tree)
        if argument == "key" and isinstance(tree, int | float | np.generic):
            _check.key(tree, f"{name}: key")
        for path, leaf in leaves:
            if isinstance(leaf, jax.core.Tracer | jax.Array | float | int | complex):
                continue
            where = _check.locate(argument, path)
            _explain_leaf(name, where, leaf, differentiated=argument == "params")
            is_wide = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype in (np.float64, np.complex128)
            doubled += [f"{where} is {leaf.dtype}"] if is_wide else []
    if doubled and not _check.x64_is_on():
        _warn_of_float64(name, doubled)


def _refuse_state(name: str, params: Any) -> None:
    """Refuse parameters that hold what is no weight: an NNX module, or variables that are not `nnx.Param`.

    Raises:
        TypeError: With the first one.
    """

    def ends(node: Any) -> bool:
        kind: Any = type(node)
        return _static.is_nnx_module(kind) or _static.holds_state(kind)

    for path, node in jtu.tree_leaves_with_path(params, is_leaf=ends):
        if ends(node):
            kind: Any = type(node)
            what = "an NNX module" if _static.is_nnx_module(kind) else f"an nnx.{kind.__name__}, which is no weight"
            message = (
                f"{name}: {_check.locate('params', path)} is {what}: all of its numbers, the statistics of a BatchNorm"
                " too, would be differentiated. Write `apply_fn, params = jaxgrad.models.from_nnx(module)` and a loss"
                " of `params`, or pass `nnx.state(module, nnx.Param)`"
            )
            raise TypeError(message)


def _explain_leaf(name: str, where: str, leaf: Any, *, differentiated: bool) -> None:
    """Refuse one leaf that is not an array.

    Raises:
        TypeError: If it is a tensor of torch, a string, an array of objects, or a function among the parameters.
    """
    if type(leaf).__module__.split(".")[0] == "torch":
        message = f"{name}: {where} is a torch tensor; convert it with jnp.asarray(tensor.detach().numpy())"
        raise TypeError(message)
    if isinstance(leaf, str | bytes):
        message = f"{name}: {where} is the string {leaf!r}, not an array{': ' + SPLIT if differentiated else ''}"
        raise TypeError(message)
    if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        ragged = not differentiated and _is_ragged(leaf)
        advice = f"its rows are of unequal shape: these are {PADDED}" if ragged else "give it a numeric dtype"
        message = f"{name}: {where} is an array of Python objects; {advice}"
        raise TypeError(message)
    if callable(leaf):
        advice = SPLIT if differentiated else "call it inside of the function that you differentiate"
        message = f"{name}: {where} is a function, not an array ({getattr(leaf, '__name__', leaf)}): {advice}"
        raise TypeError(message)
    if not hasattr(leaf, "dtype") and not hasattr(leaf, "__jax_array__"):
        picture = " of floats: jnp.asarray(leaf, float) / 255 for bytes" if hasattr(leaf, "__array_interface__") else ""
        advice = SPLIT if differentiated and not picture else f"pass an array{picture}"
        message = f"{name}: {where} is a {type(leaf).__qualname__}, not an array; {advice}"
        raise TypeError(message)


def _is_ragged(rows: np.ndarray) -> bool:
    """Say whether an array of Python objects holds arrays, or lists, of unequal shape."""

    def shape(row: Any) -> tuple[int, ...]:
        if isinstance(row, np.ndarray | jax.Array):
            return row.shape
        return (len(row),) if isinstance(row, list | tuple) else ()

    return len({shape(row) for row in rows.flat}) > 1


def _warn_of_float64(name: str, leaves: list[str]) -> None:
    """Warn, once for each function and set of leaves, that JAX computes in float32."""
    if (name, *leaves) in _warned:
        return
    _warned.add((name, *leaves))
    more = f", and {len(leaves) - 1} more leaves are wide" if len(leaves) > 1 else ""
    warnings.warn(
        f"{name}: {leaves[0]}, but JAX computes in float32 because x64 is off{more}; call"
        ' jax.config.update("jax_enable_x64", True) at the start, or pass float32',
        stacklevel=2,
    )

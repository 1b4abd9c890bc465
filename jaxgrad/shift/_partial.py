"""Shifts that cover only some leaves of the parameters: the others are absent or ``None``."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check, _tree
from jaxgrad._types import LossFn, Params, Tree
from jaxgrad._uses._low_rank import is_low_rank
from jaxgrad.shift import _wide

__all__ = ["check", "scaled", "shifted"]


def shifted(loss_fn: LossFn, has_aux: bool, wide_loss: bool = False) -> Callable[..., Any]:
    """Return ``loss(params, shift, *data)``, the checked loss at the moved parameters; ``None`` moves nothing."""
    checked = _check.scalar_loss(loss_fn, has_aux=has_aux)
    return lambda params, shift, *data: _wide.taking_float32(checked, params, wide_loss)(move(params, shift), *data)


def move(params: Params, shift: Tree) -> Params:
    """Add a shift to the leaves that it covers, those of 16 bits in float32; the other leaves stay as they are."""
    moves = dict(jtu.tree_leaves_with_path(shift))

    def moved(path: Any, leaf: Any) -> Any:
        return _tree.widened(leaf) + _tree.widened(moves[path]) if path in moves else leaf

    return jtu.tree_map_with_path(moved, params)


def scaled(shift: Tree, factor: Any) -> Tree:
    """Multiply a shift by a number, its leaves of 16 bits in float32; by ``None`` not at all."""
    if factor is None or not jtu.tree_leaves(shift):
        return shift
    _check.floating(shift=shift)
    return _tree.scale(_tree.widened(shift), factor)


def check(params: Params, shift: Tree, name: str = "shift", leading: tuple[int, ...] = ()) -> None:
    """Refuse a shift with a leaf that ``params`` does not have, or has in another shape or dtype.

    A leaf of 16 bits may be moved by one of float32.

    A leaf may be left out by leaving its key out of a dictionary, or by ``None`` for it or for a node above it. A
    list or tuple has no keys, so it must not be shorter than that of ``params``.

    Args:
        params: The tree that is moved.
        shift: The tree to add to it.
        name: What the caller's argument is called.
        leading: Axes that every leaf of the shift has in front of those of ``params``.

    Raises:
        ValueError: With every leaf that is wrong.
    """
    if any(map(is_low_rank, jtu.tree_leaves(shift, is_leaf=is_low_rank))):
        message = (
            f"{name} has leaves of low rank, which expected_gradient takes: give it the stack that low_rank_shifts"
            " returned, or give their dense() here"
        )
        raise ValueError(message)
    wanted = dict(jtu.tree_leaves_with_path(params))
    found = dict(jtu.tree_leaves_with_path(shift, is_leaf=lambda node: node is None))
    wrong = [
        f"{_check.locate(name, path)}: got {_check.describe(leaf)}, expected {_expected(wanted.get(path), leading)}"
        for path, leaf in found.items()
        if leaf is not None and not _fits(leaf, wanted.get(path), leading)
    ]
    nodes = {path[:n] for path in found for n in range(len(path))}
    wrong += [
        f"{_check.locate(name, path)}: got nothing, expected {_expected(leaf, leading)} or None"
        for path, leaf in wanted.items()
        if _drops_an_item(path, found, nodes)
    ]
    if wrong:
        headline = f"{name} must have leaves of params only, of their shapes and dtypes; leave out the keys of others:"
        raise ValueError("\n  ".join([headline, *wrong]))


def _expected(leaf: Any, leading: tuple[int, ...]) -> str:
    """Describe the leaf that belongs at the place of one of ``params``."""
    if leaf is None:
        return "nothing"
    return f"{jnp.result_type(leaf)}[{','.join(map(str, leading + jnp.shape(leaf)))}]"


def _fits(leaf: Any, like: Any, leading: tuple[int, ...]) -> bool:
    """Say whether a leaf can be added to the one at its place."""
    return (
        like is not None
        and jnp.shape(leaf) == leading + jnp.shape(like)
        and jnp.result_type(leaf) in (jnp.result_type(like), jnp.result_type(_tree.widened(like)))
    )


def _drops_an_item(path: tuple[Any, ...], found: dict[Any, Any], nodes: set[Any]) -> bool:
    """Say whether a leaf of ``params`` is missing because a list is shorter, where only a key may be left out."""
    if not (path and nodes) or any(path[:n] in found for n in range(len(path) + 1)):
        return False
    depth = max(n for n in range(len(path)) if path[:n] in nodes)
    return not isinstance(path[depth], jtu.DictKey)

"""Which leaves are the trunk that losses share, and which are the head of one loss."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.tree_util as jtu

from jaxgrad import _check, _tree
from jaxgrad._types import Params, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._linearize import Linearized

__all__ = ["Touches", "entries", "shared_leaves", "warn_of_unreached"]

Touches = Sequence[Wrt] | Mapping[str, Wrt] | None
"""Patterns or a predicate for each loss, by index or key; ``None``: what it depends on."""


@dataclass(frozen=True)
class _Leaf:
    """A leaf that counts."""

    path: str
    is_shared: bool
    named: list[str]
    """Where ``shared=`` and ``heads=`` name it."""
    losses: list[str]
    """The losses that depend on it, and those whose head it is said to be."""


def shared_leaves(start: Linearized, params: Params, wrt: Wrt, shared: Wrt, heads: Touches) -> list[bool]:
    """Say of every leaf that counts whether it is shared, after checking that the others are heads of one loss.

    Raises:
        ValueError: If a leaf is named twice, or not at all, or two losses depend on a head; with the paths.
    """
    if shared is None:
        if heads is not None:
            message = "heads= says which leaves belong to one loss each, and shared= which are the trunk: give both"
            raise ValueError(message)
        return [True] * len(start.leaves)
    leaves = _leaves(start, params, wrt, shared, heads)
    _check_heads(leaves, heads)
    return [leaf.is_shared for leaf in leaves]


def warn_of_unreached(start: Linearized, params: Params, wrt: Wrt, shared: list[bool] | None = None) -> None:
    """Warn where no loss depends on a leaf that is named as shared, or on any leaf: the rows are zeros.

    The program says so while it is traced, once.
    """
    reached = [any(hits) for hits in zip(*map(start.touches, range(start.count)), strict=True)]
    paths = [path for path, counts in zip(_paths(params), _tree.selected(params, wrt), strict=True) if counts]
    idle = [path for path, hit, mark in zip(paths, reached, shared or reached, strict=True) if mark and not hit]
    if not any(reached):
        idle = paths
    if idle:
        warnings.warn(
            f"no loss depends on {', '.join(idle)}: its gradient is zero for every loss. Is it behind"
            " jax.lax.stop_gradient, or not used?",
            stacklevel=2,
        )


def entries(name: str, given: Any, start: Linearized) -> list[Wrt]:
    """Return what the user says of each loss, in the order of the rows.

    Raises:
        ValueError: If there is not one entry for each loss.
    """
    keys = _losses.keys(start.losses)
    has_keys = len(set(keys)) == start.count
    if isinstance(given, Mapping) and has_keys and set(given) == set(keys):
        return [given[key] for key in keys]
    if isinstance(given, list | tuple) and not has_keys and len(given) == start.count:
        return list(given)
    wanted = f"keys {keys}" if has_keys else f"length {start.count}"
    message = f"{name} must have one entry for each loss, {wanted}; got {given!r}"
    raise ValueError(message)


def _check_heads(leaves: list[_Leaf], heads: Touches) -> None:
    """Refuse leaves that are named twice, or are no head of one loss.

    Raises:
        ValueError: With the paths.
    """
    twice = [f"{leaf.path}: named in {' and '.join(leaf.named)}" for leaf in leaves if len(leaf.named) > 1]
    none = [f"{leaf.path}: named in none" for leaf in leaves if heads is not None and not leaf.named]
    _check.complain(ValueError, "every leaf must be named once, in shared= or in the heads= of its loss:", twice + none)
    several = [
        f"{leaf.path}: {' and '.join(leaf.losses)} depend on it"
        for leaf in leaves
        if not leaf.is_shared and len(leaf.losses) > 1
    ]
    _check.complain(
        ValueError, "a head belongs to one loss, whose gradient it gets; name a leaf of several in shared=:", several
    )


def _leaves(start: Linearized, params: Params, wrt: Wrt, shared: Wrt, heads: Touches) -> list[_Leaf]:
    """Return what is known of every leaf that counts."""
    counts, marks = _tree.selected(params, wrt), _tree.selected(params, shared, "shared")
    given = [None] * start.count if heads is None else entries("heads", heads, start)
    none: tuple[Wrt, ...] = (None, [], ())
    chosen = [[False] * len(marks) if each in none else _tree.selected(params, each, "heads") for each in given]
    touched = iter(zip(*map(start.touches, range(start.count)), strict=True))
    found = []
    for path, is_counted, mark, mine in zip(_paths(params), counts, marks, zip(*chosen, strict=True), strict=True):
        if is_counted:
            named = ["shared="] * mark + [f"heads= of {n}" for n, hit in zip(start.names, mine, strict=True) if hit]
            hits = [a or b for a, b in zip(next(touched), mine, strict=True)]
            found.append(_Leaf(path, mark, named, [n for n, hit in zip(start.names, hits, strict=True) if hit]))
    return found


def _paths(params: Params) -> list[str]:
    """Return the path of every leaf as a message has it."""
    return [_check.locate("params", path) for path, _ in jtu.tree_leaves_with_path(params)]

"""Shifts that are given, or drawn one by one where they are used: they need not all be in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Key, LossFn, Params, Tree, Wrt
from jaxgrad._uses import _layout
from jaxgrad._uses._low_rank import LowRank, is_low_rank
from jaxgrad._uses._moving import ThinLeaf, at_shifted, thin_leaves
from jaxgrad.shift import _partial, _wide
from jaxgrad.shift._random_shifts import SAMPLERS, draw_leaves, scales_of

__all__ = [
    "Draws",
    "Samples",
    "at_multiples",
    "given_or_drawn",
    "low_rank_leaves",
    "low_rank_samples",
    "shifted",
    "times",
]


class Samples(NamedTuple):
    """Shifts of the parameters."""

    source: Any
    """A stack of trees, or an array of keys."""
    draw: Callable[[Any], Tree]
    """Makes the shift of one entry of the source: a tree with some leaves of ``params``, some of them `LowRank`."""
    number: int
    low_rank: bool
    """Whether a leaf has a shift of low rank."""

    @property
    def first(self) -> Tree:
        """The first shift."""
        return self.draw(_tree.take(self.source, 0))


class Draws(NamedTuple):
    """How shifts are drawn, as the public functions are told."""

    key: Any
    num_samples: int | None
    distribution: str
    scale: Any
    rank: int | None
    examples_along: AxisName = None
    """The mesh axis over which the examples lie that have a shift each."""

    def keys(self, number: int) -> Key:
        """Return a key for each shift; where each belongs to an example, the device's own of those of all devices."""
        _sharding.check_axis(self.examples_along)
        devices = _sharding.device_count(self.examples_along)
        return _sharding.own_rows(jax.random.split(self.key, number * devices), number, self.examples_along)


def given_or_drawn(
    loss_fn: LossFn, params: Params, shifts: Tree, data: tuple[Any, ...], draws: Draws, wrt: Wrt, count: int | None
) -> Samples:
    """Return the shifts that are given, or those that a key draws for the leaves that count.

    Args:
        loss_fn: The loss, whose uses of the weights say what their matrices are.
        params: What is shifted.
        shifts: What is given, or ``None``.
        data: The data of one call of the loss.
        draws: What is said of shifts that are drawn.
        wrt: Which leaves count.
        count: How many shifts there must be, where the data say it.

    Raises:
        ValueError: If both or none of ``shifts`` and ``key`` are given, or they are too few, too many or of wrong
            shapes.
    """
    if shifts is None:
        return _drawn(loss_fn, params, data, draws, wrt, count)
    if draws.key is not None or draws.num_samples is not None or draws.rank is not None:
        message = "shifts are given: leave out key, num_samples and rank, or give shifts=None to have them drawn"
        raise ValueError(message)
    number = _check.same_leading(shifts=shifts)
    _partial.check(params, jax.tree.map(_described, shifts, is_leaf=is_low_rank), "shifts", (number,))
    if number == 0:
        message = "shifts is empty: its leading axis has length 0, and a mean over no shift is undefined"
        raise ValueError(message)
    if count is not None and number != count:
        message = f"per_example=True has one shift an example: got {number} shifts for {count} examples"
        raise ValueError(message)
    return Samples(shifts, lambda one: one, number, any(map(is_low_rank, _nodes(shifts))))


def _drawn(
    loss_fn: LossFn, params: Params, data: tuple[Any, ...], draws: Draws, wrt: Wrt, count: int | None
) -> Samples:
    """Return shifts that are drawn."""
    if draws.key is None or (draws.num_samples is None) == (count is None):
        asked = "key= alone, since every example has one" if count is not None else "key= and num_samples="
        message = f"give the shifts themselves, or shifts=None and {asked}, to have them drawn"
        raise ValueError(message)
    _check.key(draws.key, "key")
    _check.choice(draws.distribution, "distribution", tuple(SAMPLERS))
    number = count if count is not None else _check.count(draws.num_samples, "num_samples", least=1)
    if draws.rank is None:
        return _dense_samples(params, draws, wrt, number)
    if draws.distribution != "normal":
        message = f"shifts of low rank are normal; got distribution={draws.distribution!r}: leave out rank or it"
        raise ValueError(message)
    return low_rank_samples(loss_fn, params, data, draws, wrt, number)


def _dense_samples(params: Params, draws: Draws, wrt: Wrt, number: int) -> Samples:
    """Return shifts with a number for every entry of the leaves that count."""
    leaves, structure = jax.tree.flatten(params)
    chosen = [i for i, keep in enumerate(_tree.selected(params, wrt)) if keep]
    scales = scales_of(params, draws.scale)

    def draw(key: Key) -> Tree:
        numbers = draw_leaves(SAMPLERS[draws.distribution], key, [leaves[i] for i in chosen], 1)
        moves = {
            i: (x * jnp.asarray(scales[i], x.dtype))[0].astype(leaves[i].dtype)
            for i, x in zip(chosen, numbers, strict=True)
        }
        return _tree_of(structure, moves, len(leaves))

    return Samples(draws.keys(number), draw, number, False)


def low_rank_samples(
    loss_fn: LossFn, params: Params, data: tuple[Any, ...], draws: Draws, wrt: Wrt, number: int
) -> Samples:
    """Return shifts of low rank for the matrices of the leaves that count, and dense ones for the other leaves."""
    assert draws.rank is not None, "asked by the caller"
    rank = _check.count(draws.rank, "rank", least=1)
    _check.number(draws.scale, "scale")
    leaves, structure = jax.tree.flatten(params)
    found = low_rank_leaves(loss_fn, params, data, wrt, rank)
    shapes = [jax.ShapeDtypeStruct(_drawn_shape(x, leaves[i], rank), leaves[i].dtype) for i, x in found.items()]

    def draw(key: Key) -> Tree:
        numbers = draw_leaves(SAMPLERS["normal"], key, shapes, 1)
        moves = {
            i: _shift_of(x, leaves[i], drawn[0], draws.scale, rank)
            for (i, x), drawn in zip(found.items(), numbers, strict=True)
        }
        return _tree_of(structure, moves, len(leaves))

    low_rank = any(x.split is not None for x in found.values())
    return Samples(draws.keys(number), draw, number, low_rank)


def low_rank_leaves(loss_fn: LossFn, params: Params, data: tuple[Any, ...], wrt: Wrt, rank: int) -> dict[int, ThinLeaf]:
    """Say of every leaf that counts, by its place, what its matrices are and how it is used.

    The loss is traced, so that it does not matter whether it has an aux.
    """
    leaves, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    chosen = [i for i, keep in enumerate(_tree.selected(params, wrt)) if keep]

    def checked(xs: list[Any], *rest: Any) -> Any:
        out = loss_fn(structure.unflatten(xs), *rest)
        _check.real_scalar(out[0] if isinstance(out, tuple) and len(out) == 2 else out, "loss_fn")
        return out

    return thin_leaves(checked, leaves, chosen, data, rank)


def _drawn_shape(found: ThinLeaf, leaf: Any, rank: int) -> tuple[int, ...]:
    """Return the shape of what is drawn for a leaf: both factors side by side, or a number for every entry."""
    if found.split is None:
        return tuple(leaf.shape)
    groups, rows, columns = map(_layout.size, found.split)
    return groups, rows + columns, rank


def _shift_of(found: ThinLeaf, leaf: Any, drawn: Array, scale: Any, rank: int) -> Any:
    """Return the shift of a leaf from normal numbers, of the standard deviation ``scale`` in every entry."""
    size = jnp.asarray(scale, drawn.dtype)
    if found.split is None:
        return (drawn * size).astype(leaf.dtype)
    rows = _layout.size(found.split.left)
    left, right = drawn[:, :rows] * (size / rank**0.5), drawn[:, rows:]
    return LowRank(left.astype(leaf.dtype), right.astype(leaf.dtype), found.split, tuple(leaf.shape))


def _tree_of(structure: Any, moves: dict[int, Any], count: int) -> Tree:
    """Return a tree with shifts in some places, and ``None`` in the others."""
    return structure.unflatten([moves.get(i) for i in range(count)])


def _nodes(shifts: Tree) -> list[Any]:
    """List the shifts of the leaves."""
    return jax.tree.leaves(shifts, is_leaf=is_low_rank)


def _described(node: Any) -> Any:
    """Return the shape and dtype of a stack of shifts of one leaf."""
    if not is_low_rank(node):
        return node
    return jax.ShapeDtypeStruct((node.left.shape[0], *node.shape), node.left.dtype)


def times(shift: Tree, factor: Any) -> Tree:
    """Multiply a shift by a number, of low rank or not."""

    def scaled(node: Any) -> Any:
        if is_low_rank(node):
            return LowRank(scaled(node.left), node.right, node.split, node.shape)
        return node * jnp.asarray(factor, node.dtype)

    return jax.tree.map(scaled, shift, is_leaf=is_low_rank)


def at_multiples(fun: Callable[[Tree], Tree], shift: Tree, signs: tuple[int, ...]) -> Tree:
    """Return ``fun(shift)`` at every multiple of a shift, along a leading axis; at the shift alone without a batch."""
    if len(signs) == 1:
        return jax.tree.map(lambda x: x[None], fun(shift))
    return jax.vmap(lambda sign: fun(times(shift, sign)))(jnp.array(signs))


def shifted(loss_fn: LossFn, has_aux: bool, wide_loss: bool = False) -> Callable[..., Any]:
    """Return ``loss(params, shift, *data)``, where leaves of the shift may be of low rank."""
    checked = _check.scalar_loss(loss_fn, has_aux=has_aux)
    plain = _partial.shifted(loss_fn, has_aux, wide_loss)

    def loss(params: Params, shift: Tree, *data: Any) -> Any:
        nodes = jtu.tree_leaves_with_path(shift, is_leaf=is_low_rank)
        low = {path: node for path, node in nodes if is_low_rank(node)}
        if not low:
            return plain(params, shift, *data)
        rest = jax.tree.map(lambda node: None if is_low_rank(node) else node, shift, is_leaf=is_low_rank)
        moves = {i: low[path] for i, (path, _) in enumerate(jtu.tree_leaves_with_path(params)) if path in low}

        def at(moved: Params, *rows: Any) -> Any:
            leaves, treedef = jax.tree.flatten(moved)
            structure: Any = treedef
            return at_shifted(lambda xs, *rows: checked(structure.unflatten(xs), *rows), leaves, moves, rows)

        # a use of 16 bits would round what is added away, as a sum of 16 bits would
        dense = _partial.move(params, rest)
        moved = jtu.tree_map_with_path(lambda path, leaf: _tree.widened(leaf) if path in low else leaf, dense)
        return _wide.taking_float32(at, params, wide_loss)(moved, *data)

    return loss

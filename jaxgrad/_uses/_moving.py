"""Evaluation of a function at shifted parameters where the shifts are of low rank, and are not added to the weights.

The program of the function is read as it stands, and a moved leaf goes through it as a sum that is not carried out:
transposed, reshaped, cast, sliced by a scan. At a product, a convolution or a lookup the shift adds two thin products
to what the weight gives. Anywhere else the sum is carried out.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr, _sharding
from jaxgrad._jaxpr import JaxprEqn, Scan
from jaxgrad._uses import _layout
from jaxgrad._uses._low_rank import LowRank, Moved
from jaxgrad._uses._plan import joined, oriented
from jaxgrad._uses._program import shape_of
from jaxgrad._uses._rules import Split, has_rule, split_of
from jaxgrad._uses._thin import thin_product
from jaxgrad._uses._views import Piece, Site, View
from jaxgrad._uses._walk import structural

__all__ = ["ThinLeaf", "at_shifted", "thin_leaves"]


class Use(NamedTuple):
    """One use of a leaf."""

    leaf: int
    split: Split | None
    """The groups, rows and columns at a use that has a rule."""
    name: str
    """The operation."""


class ThinLeaf(NamedTuple):
    """How one leaf can be shifted."""

    split: Split | None
    """The groups, rows and columns of its matrices; ``None`` where its shift is dense."""
    why: str
    thin_uses: int = 0
    dense_uses: int = 0
    """Uses where the sum of the leaf and its shift is formed."""


def at_shifted(
    fun: Callable[..., Any], leaves: Sequence[Any], shifts: dict[int, LowRank], data: tuple[Any, ...]
) -> Any:
    """Evaluate ``fun(leaves, *data)`` with some of its leaves shifted."""
    moved = [_moved(i, leaf, shifts[i]) if i in shifts else leaf for i, leaf in enumerate(leaves)]
    return _Evaluation().run(fun, list(leaves), moved, data)


def _moved(index: int, leaf: Any, shift: LowRank) -> Moved:
    """Return a leaf as a sum that is not carried out."""
    piece = Piece(index, _layout.layout_of(leaf.shape), ())
    left, right = shift.left.astype(leaf.dtype), shift.right.astype(leaf.dtype)
    return Moved(leaf, left, right, piece, joined(shift.split))


def thin_leaves(
    fun: Callable[..., Any], leaves: Sequence[Any], candidates: Sequence[int], data: tuple[Any, ...], rank: int
) -> dict[int, ThinLeaf]:
    """Say of some leaves how they are used, and what their matrices are; nothing is computed."""
    evaluation = _Evaluation()

    def look(leaves: Any, data: Any) -> Any:
        moved = list(leaves)
        for i in (i for i in candidates if 0 not in leaves[i].shape):
            moved[i] = Moved(leaves[i], None, None, Piece(i, _layout.layout_of(leaves[i].shape), ()), None)
        return evaluation.run(fun, leaves, moved, data)

    jax.eval_shape(look, list(leaves), data)
    return {i: _thin_leaf([use for use in evaluation.uses if use.leaf == i], leaves[i].shape, rank) for i in candidates}


def _thin_leaf(uses: list[Use], shape: Sequence[int], rank: int) -> ThinLeaf:
    """Choose the matrices of a leaf by its uses."""
    splits = [oriented(joined(use.split)) for use in uses if use.split is not None]
    other = {use.name: None for use in uses if use.split is None}
    if 0 in shape:
        return ThinLeaf(None, "it has no entries")
    if not splits:
        why = f"enters {', '.join(other)}" if other else "the loss does not depend on it"
        return ThinLeaf(None, why, 0, len(uses))
    rows, columns = _layout.size(splits[0].left), _layout.size(splits[0].right)
    if rank * (rows + columns) >= rows * columns:
        return ThinLeaf(None, f"rank {rank} on {rows}x{columns} is no less than all of it", 0, len(uses))
    same = sum(split == splits[0] for split in splits)
    reasons = [f"enters {', '.join(other)} too"] if other else []
    reasons += ["other uses split its axes in another way"] if same < len(splits) else []
    return ThinLeaf(splits[0], "; ".join(reasons), same, len(uses) - same)


def _rounds(eqn: JaxprEqn) -> bool:
    """Say whether an equation rounds a sum otherwise than its terms: to whole numbers, to 8 bits, or on purpose."""
    dtype = shape_of(eqn.outvars[0]).dtype
    coarse = not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize < 2
    return coarse or eqn.primitive.name == "reduce_precision"


class _Evaluation:
    """One evaluation of a program on arrays, and on sums that are not carried out."""

    def __init__(self) -> None:
        self.uses: list[Use] = []

    def run(self, fun: Callable[..., Any], leaves: list[Any], moved: list[Any], data: tuple[Any, ...]) -> Any:
        """Trace a function, and evaluate it with some leaves moved."""
        flat, structure = jax.tree.flatten(data)
        count = len(leaves)
        treedef: Any = structure

        def of_flat(*xs: Any) -> Any:
            return fun(list(xs[:count]), *treedef.unflatten(xs[count:]))

        closed, shapes = jax.make_jaxpr(of_flat, return_shape=True)(*leaves, *flat)
        if _jaxpr.contains(closed.jaxpr, _jaxpr.has_refs):
            return of_flat(*[self.dense(x, "a mutable array") for x in moved], *flat)
        results = self.evaluate(closed, [*moved, *flat])
        dense = [self.dense(x, "the result") for x in results]
        return jax.tree.unflatten(jax.tree.structure(shapes), dense)

    def evaluate(self, closed: Any, values: Sequence[Any]) -> list[Any]:
        """Evaluate a jaxpr."""
        return _jaxpr.evaluate(closed.jaxpr, closed.consts, values, self.operate)

    def dense(self, value: Any, name: str) -> Any:
        """Carry a sum out, and note where."""
        if not isinstance(value, Moved):
            return value
        self.uses.append(Use(value.piece.leaf, None, name))
        return value.dense()

    def operate(self, eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
        """Evaluate one equation."""
        held = [j for j, value in enumerate(values) if isinstance(value, Moved)]
        if not held:
            return _jaxpr.bind(eqn, *values)
        body, kept, loop = _jaxpr.call(eqn), _jaxpr.checkpoint(eqn), _jaxpr.as_scan(eqn)
        if body is not None:
            return self.evaluate(body, values)
        if kept is not None:
            again = jax.checkpoint(
                lambda *xs: self.evaluate(kept.body, xs), prevent_cse=kept.prevent_cse, policy=kept.policy
            )
            return again(*values)
        if loop is not None:
            return self.scan(loop, values)
        found = self.viewed(eqn, held, values) or (self.used(eqn, held[0], values) if len(held) == 1 else None)
        return found or _jaxpr.bind(eqn, *[self.dense(x, eqn.primitive.name) for x in values])

    def viewed(self, eqn: JaxprEqn, held: list[int], values: list[Any]) -> list[Any] | None:
        """Evaluate an equation that only moves the entries of one leaf, or casts it; ``None`` for any other."""
        if _jaxpr.cast_to(eqn) is not None and len(values) == 1:
            # inside of a shard_map a weight is cast before it meets what is the device's own
            return [values[0].viewed(*_jaxpr.bind(eqn, values[0].base), values[0].piece)]
        view = structural(eqn, held, {eqn.invars[j]: View((values[j].piece,)) for j in held})
        if view is None or len(view.pieces) > 1 or len(values) > 1 or _rounds(eqn):
            return None
        (base,) = _jaxpr.bind(eqn, values[0].base)
        return [values[0].viewed(base, view.pieces[0])]

    def used(self, eqn: JaxprEqn, position: int, values: list[Any]) -> list[Any] | None:
        """Evaluate a use that has a rule, by thin products beside the weight's own; ``None`` for any other."""
        moved, view = values[position], View((values[position].piece,))
        if not has_rule(eqn, position, view):
            return None
        site = Site((), eqn, position, view, ())
        split = split_of(site, moved.piece)
        if moved.left is not None and moved.factors_for(split) is None:
            return None
        self.uses.append(Use(moved.piece.leaf, split, eqn.primitive.name))
        (out,) = _jaxpr.bind(eqn, *[moved.base if j == position else x for j, x in enumerate(values)])
        factors = moved.factors_for(split)
        return [out if factors is None else out + thin_product(site, values[1 - position], *factors)]

    def scan(self, loop: Scan, values: list[Any]) -> list[Any]:
        """Evaluate a scan: its iterations share what is constant, and get their part of what is stacked."""
        first, last = loop.consts, loop.consts + loop.carries
        consts = [self.inside(x) for x in values[:first]]
        carry = [self.dense(x, "the carry of a scan") for x in values[first:last]]
        rows = [(x.stacked() or self.dense(x, "scan")) if isinstance(x, Moved) else x for x in values[last:]]

        def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
            out = self.evaluate(loop.body, [*consts, *carry, *slices])
            out = [self.dense(x, "the output of a scan") for x in out]
            return out[: loop.carries], out[loop.carries :]

        carry = _sharding.settled(lambda *args: step(*args)[0], carry, [jax.tree.map(lambda x: x[0], r) for r in rows])
        options: Any = {"length": loop.length, "reverse": loop.reverse, "unroll": loop.unroll}
        ends, outs = lax.scan(step, carry, rows, **options)
        return [*ends, *outs]

    def inside(self, value: Any) -> Any:
        """Return a constant of a scan as its body sees it: a use there is one of all iterations."""
        if not isinstance(value, Moved) or value.left is not None:
            return value
        return Moved(value.base, None, None, value.piece._replace(loops=(*value.piece.loops, None)), None)

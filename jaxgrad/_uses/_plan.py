"""The plan: for every leaf, how its part of the per-example gradients is held."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jaxgrad import _tree
from jaxgrad._uses import _layout
from jaxgrad._uses._program import Program, linear_program, narrows, shape_of
from jaxgrad._uses._rules import Split, outer_factors, split_of
from jaxgrad._uses._views import Path, Site
from jaxgrad._uses._walk import walk

__all__ = ["LeafPlan", "ParamUse", "Plan", "joined", "make_plan", "oriented", "vmap_plan"]

TRAFFIC = 16
"""What writing and reading an entry of a per-example gradient costs, in multiply-adds.

Measured on a CPU, for 64 to 1024 columns and 8 to 64 rows: Gram matrices take 0.7 of the time at a half of it, as much
at 16, and 1.1 to 1.5 times as much at twice that.
"""


class ParamUse(NamedTuple):
    """One site of one leaf."""

    path: Path
    piece: int
    """Which piece of the site's view the leaf is."""
    swapped: bool
    """Whether the left factor runs over the leaf's columns."""


class LeafPlan(NamedTuple):
    """How the per-example gradients of one leaf are held."""

    method: str
    """``ghost``: as factors; ``instantiate``: formed from factors; ``tap``: by the backward pass; ``unused``: zero."""
    why: str
    shape: tuple[int, ...]
    dtype: Any
    rows: int = 0
    """How many outer products make up the gradient of one example."""
    split: Split | None = None
    """The groups, rows and columns of the leaf seen as matrices."""
    uses: tuple[ParamUse, ...] = ()
    patches: int = 0
    """How many entries of its left factors are made for them: the windows of convolutions."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of groups, matrix rows and matrix columns."""
        assert self.split is not None, "only leaves with sites are matrices"
        return tuple(map(_layout.size, self.split))  # type: ignore[return-value]

    @property
    def itemsize(self) -> int:
        """The bytes of one entry."""
        return self.dtype.itemsize

    @property
    def bytes_held(self) -> int:
        """The bytes that an example adds on top of its activations: cotangents and Gram tiles, or the gradient."""
        if self.method == "unused":
            return 0
        if self.method != "ghost":
            return (math.prod(self.shape) + self.patches) * self.itemsize
        groups, _, columns = self.sizes
        tiles = 2 * self.rows**2 if self.rows > len(self.uses) else 0
        return (groups * (self.rows * columns + tiles) + self.patches) * self.itemsize


class Plan(NamedTuple):
    """A traced loss and what to do with each of its leaves."""

    fun: Callable[..., Any]
    """``fun(leaves, *example)`` returns the loss, of shape ``()``, and aux."""
    program: Program | None
    """``None`` where everything is materialised."""
    sites: dict[Path, Site]
    leaves: tuple[LeafPlan, ...]

    @property
    def bytes_of_example(self) -> int:
        """The bytes that one example holds: its activations, and what is held of its leaves."""
        activations = self.program.activation_bytes(len(self.leaves)) if self.program else 0
        return activations + sum(leaf.bytes_held for leaf in self.leaves)

    @property
    def rounds(self) -> bool:
        """Whether the backward pass is narrower than sums are: a cotangent that is scaled would be rounded anew."""
        kept = _tree.accumulator(*(leaf.dtype for leaf in self.leaves))
        return self.program is not None and narrows(self.program.linear, kept)

    @property
    def tapped(self) -> list[int]:
        """The leaves whose gradient comes out of the backward pass."""
        return [i for i, leaf in enumerate(self.leaves) if leaf.method == "tap"]


def make_plan(fun: Callable[..., Any], leaves: Sequence[Any], example: Any) -> Plan:
    """Trace the loss of one example, and choose for every leaf by cost.

    Args:
        fun: ``fun(leaves, *example)`` returns the loss, of shape ``()``, and aux.
        leaves: The leaves that count, arrays or their shapes.
        example: Tuple of trees of shapes and dtypes, without the leading axis of the batch.

    Returns:
        The plan; nothing is computed.
    """
    program = linear_program(fun, leaves, example)
    if program is None:
        return vmap_plan(fun, leaves)
    found = walk(program.linear, [leaf.shape for leaf in leaves])
    plans = [_plan_leaf(i, leaf, found.sites, found.escapes) for i, leaf in enumerate(leaves)]
    # a site that joins several leaves needs its tap for all of them or for none
    tapped = {i for i, plan in enumerate(plans) if plan.method == "tap"}
    while (
        spread := {
            piece.leaf
            for site in found.sites.values()
            if any(p.leaf in tapped for p in site.view.pieces)
            for piece in site.view.pieces
        }
        - tapped
    ):
        tapped |= spread
        for i in spread:
            plans[i] = LeafPlan("tap", "joined with a leaf that is tapped", plans[i].shape, plans[i].dtype)
    sites = {p: s for p, s in found.sites.items() if not any(piece.leaf in tapped for piece in s.view.pieces)}
    return Plan(fun, program, sites, tuple(plans))


def vmap_plan(fun: Callable[..., Any], leaves: Sequence[Any]) -> Plan:
    """Return the plan that forms the gradient of every example by ``vmap(grad)``."""
    plans = [LeafPlan("tap", "vmap(grad)", tuple(leaf.shape), leaf.dtype) for leaf in leaves]
    return Plan(fun, None, {}, tuple(plans))


def _plan_leaf(index: int, leaf: Any, sites: dict[Path, Site], escapes: dict[int, str]) -> LeafPlan:
    """Choose how one leaf is held."""
    shape, dtype = tuple(leaf.shape), leaf.dtype
    if 0 in shape:
        return LeafPlan("tap", "it has no entries", shape, dtype)
    if index in escapes:
        return LeafPlan("tap", f"enters {escapes[index]}", shape, dtype)
    places = [(site, k) for site in sites.values() for k, p in enumerate(site.view.pieces) if p.leaf == index]
    # a use over no position adds nothing
    places = [(site, k) for site, k in places if _count(site, k)[0]]
    if not places:
        return LeafPlan("unused", "the loss does not depend on it", shape, dtype)
    splits = [joined(split_of(site, site.view.pieces[k])) for site, k in places]
    base = oriented(splits[0])
    if any(oriented(split) != base for split in splits):
        return LeafPlan("tap", "its uses split its axes in different ways", shape, dtype)
    uses = tuple(ParamUse(site.path, k, split != base) for (site, k), split in zip(places, splits, strict=True))
    counts = [_count(site, k) for site, k in places]
    patches = sum(size for (site, _), (_, size) in zip(places, counts, strict=True) if site.makes_patches)
    plan = LeafPlan("ghost", "", shape, dtype, sum(rows for rows, _ in counts), base, uses, patches)
    return _choose(plan)


def _choose(plan: LeafPlan) -> LeafPlan:
    """Compare the Gram matrices of the factors with the gradient formed from them."""
    groups, height, width = plan.sizes
    formed = plan._replace(method="instantiate")
    if plan.rows == len(plan.uses):
        return plan._replace(why="one outer product a use")
    gram, traffic = plan.rows**2 * (height + width), TRAFFIC * height * width
    if gram < traffic and plan.bytes_held <= formed.bytes_held:
        return plan._replace(why=f"Gram {groups * gram:,} < gradient {groups * traffic:,}")
    why = f"Gram {groups * gram:,} >= gradient {groups * traffic:,}" if gram >= traffic else "its factors are larger"
    return formed._replace(why=why)


def joined(split: Split) -> Split:
    """Return a split with each side in the order of the leaf."""
    return Split(*map(_layout.coalesce, split))


def oriented(split: Split) -> Split:
    """Return a split whose left side is the one that moves slowest through the leaf."""
    return split if split.left >= split.right else Split(split.groups, split.right, split.left)


def _count(site: Site, index: int) -> tuple[int, int]:
    """Return how many outer products a site adds to every group, and the entries of its left factor."""
    shapes = [
        jax.ShapeDtypeStruct((*site.lengths, *aval.shape), aval.dtype)
        for aval in map(shape_of, (site.operand, site.eqn.outvars[0]))
    ]
    left, right = jax.eval_shape(lambda a, v: outer_factors(site, index, a, v), *shapes)
    return right.shape[1], sum(x.size for x in jax.tree.leaves(left))

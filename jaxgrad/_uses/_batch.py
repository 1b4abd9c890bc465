"""What the public functions share: a loss on the leaves that count, its plan, and the passes over a batch."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad._uses._chunks import over_chunks
from jaxgrad._uses._gradient_factors import GradientFactors, gradient_factors, weighted_sum
from jaxgrad._uses._map_examples import map_examples, subset_of
from jaxgrad._uses._norms import norms_of_groups
from jaxgrad._uses._plan import Plan, make_plan, vmap_plan
from jaxgrad._uses._program import narrows

__all__ = [
    "MODES",
    "OLD_MODES",
    "Mode",
    "Problem",
    "chunk_length",
    "clip_and_sum",
    "measure",
    "problem_of",
    "sum_with_weights",
    "together",
]

Mode = Literal["auto", "book-keeping", "ghost", "vmap"]
"""How the gradients of a batch are held; see `clipped_sum`."""

MODES: tuple[str, ...] = get_args(Mode)

OLD_MODES = {"materialise": "vmap"}
"""Modes that had another name, for one release."""

CACHE = 16 * 2**20
"""Bytes that a chunk may hold on a CPU, activations and all; an estimate: more of them at once is slower."""


class Problem(NamedTuple):
    """A per-example loss on a flat list of the leaves that count."""

    fun: Callable[..., tuple[Array, Tree]]
    """``fun(leaves, *example)`` returns the loss, of shape ``()``, and aux: ``None`` where the user's loss has none."""
    leaves: list[Array]
    plan: Plan
    rebuild: Callable[[Any], Params]
    """Turns a list like ``leaves`` into a tree like ``params``, zero on the leaves that do not count."""
    embed: Callable[[Any], Params]
    """The same, with the dtypes as they are given."""
    pick: Callable[[Tree], list[Any]]
    """Takes the leaves that count from a tree like ``params``."""
    spread: Callable[[list[Array]], Tree]
    """Turns an array for each of ``leaves`` into a tree like ``params``, zero on the leaves that do not count."""

    def of_batch(self, batch: tuple[Any, ...]) -> Callable[[list[Array]], tuple[Array, Tree]]:
        """Return the function that turns leaves into the losses and aux of a batch."""
        return lambda leaves: map_examples(self.fun, leaves, batch)


def problem_of(
    loss_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    mode: str = "auto",
    *,
    plan: bool = True,
    axis_name: AxisName = None,
    has_aux: bool = False,
) -> Problem:
    """Check the arguments of a public function, and plan; without a plan everything is materialised."""
    _check.choice(mode, "mode", MODES)
    subset = subset_of(loss_fn, params, batch, wrt, axis_name, has_aux=has_aux)
    leaves, structure = jax.tree.flatten(subset.active)
    treedef: Any = structure

    def fun(active: list[Array], *example: Any) -> tuple[Array, Tree]:
        return subset.pair(treedef.unflatten(active), *example)

    held = vmap_plan(fun, leaves)
    if plan and mode != "vmap":
        made = make_plan(fun, leaves, one_of(batch))
        held = made if made.sites or mode != "auto" else held

    def embed(parts: Any) -> Params:
        return subset.embed(treedef.unflatten(parts))

    def rebuild(parts: Any) -> Params:
        return embed([p.astype(like.dtype) for p, like in zip(parts, leaves, strict=True)])

    def pick(tree: Tree) -> list[Any]:
        return jax.tree.leaves(subset.pick(tree))

    def spread(parts: list[Array]) -> Tree:
        counting = iter(parts)
        chosen = [True] * len(leaves) if wrt is None else _tree.selected(params, wrt)
        blank = jnp.zeros_like(parts[0])
        whole: Any = jax.tree.structure(params)
        return whole.unflatten([next(counting) if keep else blank for keep in chosen])

    return Problem(fun, leaves, held, rebuild, embed, pick, spread)


def one_of(batch: Tree) -> Tree:
    """Return the types of one example; of a batch that lies in parts on Explicit axes none could be cut out."""
    return jax.tree.map(lambda x: _sharding.shape_like(jax.typeof(x), x.shape[1:]), batch)


def chunk_length(problem: Problem, microbatch: int | None, size: int, copies: int = 1) -> int:
    """Return the number of examples that are taken at once, each held ``copies`` times.

    Raises:
        ValueError: If ``microbatch`` is below 1.
    """
    if microbatch is not None:
        return min(_check.count(microbatch, "microbatch", least=1), size)
    limit = max(1, CACHE // max(1, copies * problem.plan.bytes_of_example))
    if jax.default_backend() != "cpu" or limit >= size:
        return size
    # a chunk that divides the batch needs no padding
    divisors = [n for n in range(limit // 2 + 1, limit + 1) if size % n == 0]
    return divisors[-1] if divisors else limit


def together(problem: Problem) -> list[list[int]]:
    """Return all leaves as one group."""
    return [list(range(len(problem.leaves)))]


def measure(
    problem: Problem, batch: tuple[Any, ...], microbatch: int | None, groups: Sequence[Sequence[int]]
) -> tuple[list[Array], Tree]:
    """Return the norms of the gradients, group of leaves by group, and aux."""
    size = _check.batch(batch)

    def step(chunk: Any, _: Array) -> tuple[Tree, Tree]:
        factors = gradient_factors(problem.plan, problem.leaves, chunk)
        return (), (norms_of_groups(problem.plan, factors, groups), factors.aux)

    return over_chunks(step, batch, jnp.ones(size, bool), chunk_length(problem, microbatch, size))[1]


ScaleFn = Callable[[list[Array], Any], tuple[list[Array], Tree]]
"""Turns the norms of the groups, and further rows that were given, into a scale an example for every group, and
per-example rows to report."""


def clip_and_sum(
    problem: Problem,
    batch: tuple[Any, ...],
    real: Array,
    groups: Sequence[Sequence[int]],
    scale_fn: ScaleFn,
    mode: str,
    microbatch: int | None,
    given: Any = (),
) -> tuple[list[Array], Array, Tree, Tree]:
    """Scale the gradients of groups of leaves by a function of their norms, and sum.

    Returns:
        The sums of the leaves, float32 at the least, the losses, the rows of ``scale_fn``, and aux.
    """

    def step(both: Any, real: Array) -> tuple[Tree, Tree]:
        chunk, rows_given = both
        factors = gradient_factors(problem.plan, problem.leaves, chunk)
        norms = norms_of_groups(problem.plan, factors, groups)
        finite = functools.reduce(jnp.logical_and, map(jnp.isfinite, [factors.losses, *norms]))
        scales, rows = scale_fn(norms, rows_given)
        cut = [_cut(scale, norm, real & finite) for scale, norm in zip(scales, norms, strict=True)]
        return _scaled_sum(problem, chunk, factors, groups, cut, finite, mode), (factors.losses, rows, factors.aux)

    size = real.shape[0]
    length = chunk_length(problem, microbatch, size)
    total, (losses, rows, aux) = over_chunks(step, (batch, given), real, length)
    return total, losses, rows, aux


def _cut(scale: Array, norm: Array, counts: Array) -> Array:
    """Return a scale that is zero for an example that does not count, and for zero times infinity."""
    return jnp.where(counts & ((norm > 0) | jnp.isfinite(scale)), scale, jnp.zeros_like(scale))


def _scaled_sum(
    problem: Problem,
    batch: tuple[Any, ...],
    factors: GradientFactors,
    groups: Sequence[Sequence[int]],
    scales: list[Array],
    finite: Array,
    mode: str,
) -> list[Array]:
    """Sum the gradients, by a second backward pass where the mode asks for it and it rounds no more than the sum."""
    if mode == "ghost" and not problem.plan.rounds:
        with contextlib.suppress(NotImplementedError):
            return second_pass(problem, batch, groups, scales, finite)
    of_leaf = {i: scale for group, scale in zip(groups, scales, strict=True) for i in group}
    return weighted_sum(problem.plan, factors, [of_leaf[i] for i in range(len(problem.leaves))])


def second_pass(
    problem: Problem, batch: tuple[Any, ...], groups: Sequence[Sequence[int]], scales: list[Array], finite: Array
) -> list[Array]:
    """Sum the gradients with a second backward pass, whose cotangents are the scales.

    Raises:
        NotImplementedError: Where JAX cannot transpose a loss that is mapped over examples: a rule with a branch.
    """
    # an example that is not finite gives way to one that is, and its scale is zero
    chosen = jnp.where(finite, jnp.arange(finite.shape[0]), jnp.argmax(finite))
    batch = _sharding.vary(batch, _sharding.varying((chosen, batch)))
    batch = lax.cond(jnp.all(finite), lambda: batch, lambda: jax.tree.map(lambda x: x[chosen], batch))
    losses, pullback, _ = jax.vjp(problem.of_batch(batch), problem.leaves, has_aux=True)
    some = jnp.any(finite)
    sums: dict[int, Array] = {}
    for group, scale in zip(groups, scales, strict=True):
        (total,) = pullback(scale.astype(losses.dtype))
        sums |= {i: jnp.where(some, total[i], jnp.zeros_like(total[i])) for i in group}
    return [sums[i] for i in range(len(problem.leaves))]


def sum_with_weights(problem: Problem, batch: tuple[Any, ...], weights: Array) -> tuple[list[Array], Tree]:
    """Sum the gradients with a weight for each, by one backward pass of the batch where it is right.

    Returns:
        The sums of the leaves, and aux.
    """
    kept = _tree.accumulator(*(leaf.dtype for leaf in problem.leaves))
    # the losses must vary over the devices wherever their weights do, and the weights wherever the losses do
    problem = problem._replace(leaves=_sharding.vary(problem.leaves, _sharding.varying(weights)))
    weights = _sharding.vary(weights, _sharding.varying((problem.leaves, batch)))
    if not narrows(_loss_alone(problem, batch), kept):
        with contextlib.suppress(NotImplementedError):
            losses, pullback, aux = jax.vjp(problem.of_batch(batch), problem.leaves, has_aux=True)
            return pullback(_sharding.like(weights.astype(losses.dtype), losses))[0], aux
    planned = problem._replace(plan=make_plan(problem.fun, problem.leaves, one_of(batch)))

    def step(both: Any, real: Array) -> tuple[Tree, Tree]:
        chunk, given = both
        factors = gradient_factors(planned.plan, planned.leaves, chunk)
        scales = jnp.where(real, given, jnp.zeros_like(given)).astype(kept)
        return weighted_sum(planned.plan, factors, [scales] * len(planned.leaves)), factors.aux

    length = chunk_length(planned, None, weights.shape[0])
    return over_chunks(step, (batch, weights), jnp.ones(weights.shape, bool), length)


def _loss_alone(problem: Problem, batch: tuple[Any, ...]) -> Any:
    """Return the program of the loss of one example, without what only aux needs."""
    whole = jax.make_jaxpr(problem.fun)(problem.leaves, *one_of(batch)).jaxpr
    return _jaxpr.needed(whole, [i == 0 for i in range(len(whole.outvars))])[0]

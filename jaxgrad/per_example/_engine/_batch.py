"""What the public functions share: a loss on the leaves that count, its plan, and the passes over a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, LossFn, Params, Tree, Wrt
from jaxgrad.per_example._engine._chunks import over_chunks
from jaxgrad.per_example._engine._ledger import keep_books, norms_squared, weighted_sum
from jaxgrad.per_example._engine._plan import Plan, make_plan, materialising_plan
from jaxgrad.per_example._one import map_examples, subset_of

__all__ = ["MODES", "Problem", "chunk_length", "clip_and_sum", "measure", "problem_of", "total_norm"]

MODES = ("auto", "book-keeping", "ghost", "materialise")

CACHE = 16 * 2**20
"""Bytes that a chunk may hold on a CPU, activations and all; an estimate: more of them at once is slower."""


class Problem(NamedTuple):
    """A per-example loss on a flat list of the leaves that count."""

    fun: Callable[..., Array]
    """``fun(leaves, *example) -> ()``."""
    leaves: list[Array]
    plan: Plan
    rebuild: Callable[[Any], Params]
    """Turns a list like ``leaves`` into a tree like ``params``, zero on the leaves that do not count."""
    pick: Callable[[Tree], list[Any]]
    """Takes the leaves that count from a tree like ``params``."""
    spread: Callable[[list[Array]], Tree]
    """Turns an array for each of ``leaves`` into a tree like ``params``, zero on the leaves that do not count."""


def problem_of(loss_fn: LossFn, params: Params, batch: tuple[Any, ...], wrt: Wrt, mode: str = "auto") -> Problem:
    """Check the arguments of a public function, and plan."""
    _check.choice(mode, "mode", MODES)
    subset = subset_of(loss_fn, params, batch, wrt)
    leaves, structure = jax.tree.flatten(subset.active)
    treedef: Any = structure

    def fun(active: list[Array], *example: Any) -> Array:
        return subset.fun(treedef.unflatten(active), *example)

    example = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)
    plan = materialising_plan(fun, leaves) if mode == "materialise" else make_plan(fun, leaves, example)
    if mode == "auto" and not plan.sites:
        plan = materialising_plan(fun, leaves)

    def rebuild(parts: Any) -> Params:
        cast = [p.astype(like.dtype) for p, like in zip(parts, leaves, strict=True)]
        return subset.embed(treedef.unflatten(cast))

    def pick(tree: Tree) -> list[Any]:
        return jax.tree.leaves(subset.pick(tree))

    def spread(parts: list[Array]) -> Tree:
        counting = iter(parts)
        chosen = [True] * len(leaves) if wrt is None else _tree.selected(params, wrt)
        blank = jnp.zeros_like(parts[0])
        whole: Any = jax.tree.structure(params)
        return whole.unflatten([next(counting) if keep else blank for keep in chosen])

    return Problem(fun, leaves, plan, rebuild, pick, spread)


def chunk_length(problem: Problem, microbatch: int | None, size: int) -> int:
    """Return the number of examples that are taken at once.

    Raises:
        ValueError: If ``microbatch`` is below 1.
    """
    if microbatch is not None:
        return min(_check.count(microbatch, "microbatch", least=1), size)
    limit = max(1, CACHE // max(1, problem.plan.bytes_of_example))
    if jax.default_backend() != "cpu" or limit >= size:
        return size
    # a chunk that divides the batch needs no padding
    divisors = [n for n in range(limit // 2 + 1, limit + 1) if size % n == 0]
    return divisors[-1] if divisors else limit


def total_square(squared: list[Array]) -> Array:
    """Return the squared norm of all leaves together."""
    # as a product: XLA would repeat a plain sum of many leaves in the loop of every leaf
    rows = jnp.stack(squared)
    return jnp.matmul(jnp.ones(rows.shape[0], rows.dtype), rows, precision="highest")


def total_norm(squared: list[Array]) -> Array:
    """Return the norm of all leaves together."""
    return _tree.safe_sqrt(total_square(squared))


def measure(problem: Problem, batch: tuple[Any, ...], microbatch: int | None) -> tuple[Array, list[Array]]:
    """Return the losses, and the squared norms of the gradients leaf by leaf."""
    size = _check.batch(batch)

    def step(chunk: Any, _: Array) -> tuple[Tree, Tree]:
        ledger = keep_books(problem.plan, problem.leaves, chunk)
        return (), (ledger.losses, norms_squared(problem.plan, ledger))

    length = chunk_length(problem, microbatch, size)
    _, rows = over_chunks(step, batch, jnp.ones(size, bool), length)
    return rows


ScaleFn = Callable[[list[Array], Any], tuple[list[Array], Tree]]
"""Turns the squared norms of the leaves, and further rows that were given, into a scale an example for every leaf, and
per-example rows to report."""


def clip_and_sum(
    problem: Problem,
    batch: tuple[Any, ...],
    real: Array,
    scale_fn: ScaleFn,
    mode: str,
    microbatch: int | None,
    given: Any = (),
) -> tuple[list[Array], Array, Tree]:
    """Scale the gradients by a function of their norms, and sum.

    Returns:
        The sums of the leaves, the losses, and the rows of ``scale_fn``.
    """

    def step(both: Any, real: Array) -> tuple[Tree, Tree]:
        chunk, rows_given = both
        ledger = keep_books(problem.plan, problem.leaves, chunk)
        squared = norms_squared(problem.plan, ledger)
        finite = jnp.isfinite(total_square(squared)) & jnp.isfinite(ledger.losses)
        scales, rows = scale_fn(squared, rows_given)
        cut = {id(s): jnp.where(real & finite, s, jnp.zeros_like(s)) for s in scales}
        scales = [cut[id(s)] for s in scales]
        if mode == "ghost":
            total = second_pass(problem, chunk, scales, finite)
        else:
            total = weighted_sum(problem.plan, ledger, scales)
        return total, (ledger.losses, rows)

    size = real.shape[0]
    length = chunk_length(problem, microbatch, size)
    total, (losses, rows) = over_chunks(step, (batch, given), real, length)
    return total, losses, rows


def second_pass(problem: Problem, batch: tuple[Any, ...], scales: list[Array], finite: Array) -> list[Array]:
    """Sum the gradients with a second backward pass, whose cotangents are the scales."""
    # an example that is not finite gives way to one that is, and its scale is zero
    chosen = jnp.where(finite, jnp.arange(finite.shape[0]), jnp.argmax(finite))
    batch = lax.cond(jnp.all(finite), lambda: batch, lambda: jax.tree.map(lambda x: x[chosen], batch))
    losses, pullback = jax.vjp(lambda leaves: map_examples(problem.fun, leaves, batch), problem.leaves)
    passes: dict[int, list[Array]] = {}
    for scale in scales:
        if id(scale) not in passes:
            (passes[id(scale)],) = pullback(scale.astype(losses.dtype))
    some = jnp.any(finite)
    return [jnp.where(some, passes[id(s)][i], jnp.zeros_like(passes[id(s)][i])) for i, s in enumerate(scales)]

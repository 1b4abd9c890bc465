"""The gradients whose outer products add up to a Fisher matrix, held as what enters and leaves every use of a weight.

For the empirical matrix they are the gradients of the losses, one an example. For the exact one they are the columns of
``J^T R``, with the Jacobian ``J`` of an example's outputs and a root ``R`` of the Hessian of its loss in them; for the
Monte Carlo one the gradients at targets that are drawn. Both are gradients of ``sum(outputs * seed)``, one forward pass
and a backward pass for every seed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Key, LossFn, Params, Tree, Wrt
from jaxgrad._uses._batch import Problem, problem_of
from jaxgrad._uses._chunks import over_chunks
from jaxgrad._uses._factors import Factors
from jaxgrad._uses._gradient_factors import entry_of
from jaxgrad._uses._plan import LeafPlan, Plan
from jaxgrad._uses._taps import run
from jaxgrad.curvature._engine import _one_example, _output_checks
from jaxgrad.curvature._engine._output_losses import Named
from jaxgrad.curvature._engine._output_roots import column

__all__ = ["Source", "over_columns", "pseudo_gradients", "source_of"]


class Source(NamedTuple):
    """A batch, and the pseudo-gradients of one example of it."""

    problem: Problem
    """Of ``fun(leaves, *inputs, seed)``; its plan holds as factors every leaf that can be."""
    batch: tuple[Any, ...]
    """``(examples, extras)``, along their leading axis the examples."""
    columns: int
    """How many pseudo-gradients an example has."""
    at_once: int
    """How many of them are held at a time."""
    inputs: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    """Takes what the function is given from an example."""
    blank: Array
    """A seed of zeros."""
    seed: Callable[..., Array] | None
    """``seed(outputs, targets, extra, column)``; ``None`` where the gradients are those of the losses."""


def source_of(
    loss_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    *,
    kind: str,
    output_loss: Any,
    key: Key | None,
    num_samples: int | None,
    samples: Any,
    chunk: int | None,
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Check the arguments that choose the pseudo-gradients, and plan.

    Raises:
        ValueError: If ``kind`` is unknown, or lacks what it needs.
    """
    _check.choice(kind, "kind", _output_checks.KINDS)
    if output_loss is not None:
        _output_checks.checked(output_loss)
    _check_needs(kind, output_loss, batch)
    _output_checks.check_draws(kind, key, num_samples, samples)
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    if kind == "empirical":
        return _of_losses(loss_fn, params, batch, wrt, output_loss, axis_name, has_aux)
    size = _check.batch(batch)
    outputs = _one_example.shape_of(loss_fn, params, batch, has_aux)
    if kind == "exact" or len(batch) > 1:
        _one_example.check_targets(output_loss, outputs, batch)
    if kind == "exact":

        def column_of(outputs: Array, targets: tuple[Any, ...], _: Any, index: Array) -> Array:
            return column(_one_example.loss_at(output_loss, outputs, targets), index)

        return _of_outputs(loss_fn, params, batch, wrt, (), outputs, outputs.size, chunk, column_of, axis_name, has_aux)
    if samples is not None:
        samples = _output_checks.checked_samples(
            output_loss, _one_example.batch_of(outputs, size), _one_example.lifted(samples, outputs)
        )
    count = (num_samples or 1) if samples is None else samples.shape[0]
    drawn, extras = _draws(key, samples, size, axis_name)

    def score_of(outputs: Array, targets: tuple[Any, ...], extra: Any, index: Array) -> Array:
        loss: Any = _one_example.loss_at(output_loss, outputs, targets)
        # the mean over draws of the outer products is the Hessian, which a distribution's sum weighs
        return loss.scores(drawn(loss, extra, index)) * _tree.safe_sqrt(loss.weights * loss.mass() / count)

    return _of_outputs(loss_fn, params, batch, wrt, extras, outputs, count, chunk, score_of, axis_name, has_aux)


def _of_outputs(
    model_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    extras: Any,
    outputs: Any,
    columns: int,
    chunk: int | None,
    seed: Callable[..., Array],
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Return the source whose gradients are those of the outputs times seeds, ``columns`` of them."""
    axes = _sharding.varying((params, batch, extras))
    blank = _sharding.vary(jnp.zeros(outputs.shape, _tree.accumulator(outputs.dtype)), axes)

    def fun(params: Params, x: Any, seed: Array) -> tuple[Array, Any]:
        given = model_fn(params, x)
        outputs, aux = given if has_aux else (given, None)
        return jnp.sum(outputs.astype(seed.dtype) * seed), (outputs, aux)

    def seed_of(outputs: Array, targets: tuple[Any, ...], extra: Any, column: Array) -> Array:
        return _sharding.vary(seed(outputs, targets, extra, column).astype(blank.dtype).reshape(blank.shape), axes)

    blanks = jnp.broadcast_to(blank, (_check.batch(batch), *blank.shape))
    problem = problem_of(fun, params, (batch[0], blanks), wrt, "book-keeping", axis_name=axis_name, has_aux=True)
    at_once = min(chunk or columns, columns)
    return Source(_held(problem), (batch, extras), columns, at_once, lambda example: example[:1], blank, seed_of)


def _of_losses(
    loss_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    output_loss: Any,
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Return the source whose gradients are those of the losses, at the targets that were given."""
    if output_loss is not None:
        _one_example.check_targets(output_loss, _one_example.shape_of(loss_fn, params, batch, has_aux), batch)

    def fun(params: Params, *given: Any) -> Any:
        *example, _ = given
        if output_loss is None:
            return loss_fn(params, *example)
        both = loss_fn(params, example[0])
        outputs, aux = both if has_aux else (both, None)
        value = _one_example.loss_at(output_loss, outputs, tuple(example[1:])).value()
        return (value, aux) if has_aux else value

    seeds = jnp.zeros(_check.batch(batch, allow_empty=True))
    problem = problem_of(fun, params, (*batch, seeds), wrt, "book-keeping", axis_name=axis_name, has_aux=has_aux)
    return Source(_held(problem), (batch, ()), 1, 1, lambda example: example, jnp.zeros(()), None)


def _check_needs(kind: str, output_loss: Any, batch: tuple[Any, ...]) -> None:
    """Refuse a kind without what it needs.

    Raises:
        ValueError: With what to pass.
    """
    if kind != "empirical" and output_loss is None:
        message = (
            f'kind="{kind}" needs the outputs of the model apart from their loss: pass the model of one example first,'
            ' as model_fn(params, x) -> outputs, and output_loss="softmax_cross_entropy", "squared_error", "bernoulli"'
            ' or a function of the outputs and targets; or write kind="empirical" for a loss_fn(params, *example)'
        )
        raise ValueError(message)
    if output_loss is not None and not batch:
        message = "the batch has no inputs: with output_loss the model is given the first tree of the batch"
        raise ValueError(message)
    if kind == "mc" and callable(output_loss):
        message = (
            'kind="mc" draws targets from the distribution that the loss is the negative logarithm of, and none is'
            ' known of an output_loss that is a function: name one, or write kind="exact"'
        )
        raise ValueError(message)


def _draws(key: Key | None, samples: Any, size: int, axis_name: AxisName) -> tuple[Any, Any]:
    """Return what draws the targets of an example, a batch of one, and what else it takes of an example.

    That is a random key of its own, or its drawn targets. The keys follow the places of the examples in the whole
    batch, so that neither chunks nor devices change a draw.
    """
    if samples is not None:
        return lambda _, given, index: jnp.take(given, index, axis=0)[None], jnp.swapaxes(samples, 0, 1)
    typed, places = _typed(key), jnp.arange(size, dtype=jnp.int32)
    if axis_name:
        places = places + size * lax.axis_index(_sharding.names(axis_name))
    kind = jax.random.key_impl(typed)

    def drawn(loss: Named, data: Array, index: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(data, impl=kind), index)
        return lax.stop_gradient(loss.draw(key, 1)[0])

    return drawn, jax.random.key_data(jax.vmap(jax.random.fold_in, (None, 0))(typed, places))


def _typed(key: Any) -> Key:
    """Return a key as a typed one."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _held(problem: Problem) -> Problem:
    """Hold as factors every leaf whose gradient is a sum of outer products."""
    leaves = [leaf._replace(method="ghost") if leaf.split is not None else leaf for leaf in problem.plan.leaves]
    return problem._replace(plan=problem.plan._replace(leaves=tuple(leaves)))


def over_columns(source: Source, chunk: tuple[Any, ...], reduce: Callable[[Any], tuple[Tree, Tree]]) -> Any:
    """Run a chunk of examples forward, and backward for every column, ``source.at_once`` of them at a time.

    Args:
        source: The examples.
        chunk: Some of them.
        reduce: Takes what `pseudo_gradients` holds, and returns what is the same for all columns (made of inputs
            alone), and sums over the columns.

    Returns:
        Both for all columns, and the aux of the examples.
    """
    if source.at_once >= source.columns:
        entries, aux = pseudo_gradients(source, chunk)
        return *reduce(entries), aux
    # XLA drops the backward pass of this one column, whose cotangents nothing reads
    first = jnp.arange(1)
    entries, aux = pseudo_gradients(source, chunk, first, jnp.ones(1, bool))

    def step(columns: Array, real: Array) -> tuple[Tree, Tree]:
        return reduce(pseudo_gradients(source, chunk, columns, real)[0])[1], ()

    every = jnp.arange(source.columns), jnp.ones(source.columns, bool)
    return reduce(entries)[0], over_chunks(step, *every, source.at_once)[0], aux


def pseudo_gradients(
    source: Source, chunk: tuple[Any, ...], columns: Array | None = None, real: Array | None = None
) -> tuple[tuple[Any, ...], Tree]:
    """Run a chunk forward once, and backward for some columns; for all where ``columns`` is ``None``.

    Args:
        source: The examples.
        chunk: Some of them.
        columns: The numbers of the columns.
        real: False where a column is padding: its gradients are zero.

    Returns:
        For every leaf its uses as `Factors`, the inputs of shape ``(B, groups, terms, entries)`` and the cotangents of
        shape ``(B, columns, groups, terms, entries)``; or its gradients ``(B, columns, *shape)``, or ``None`` where it
        is not used. And the aux of the examples.
    """
    plan, leaves = source.problem.plan, source.problem.leaves
    axes = tuple(_column_axes(leaf) for leaf in plan.leaves)
    columns = jnp.arange(source.columns) if columns is None else columns

    def one(example: tuple[Any, ...], extra: Any) -> tuple[Any, Tree]:
        given = source.inputs(example)
        # the same forward as that of the seeds below: XLA keeps one of them
        outputs = _forward(plan, leaves, (*given, source.blank))[0] if source.seed else None

        def at(column: Array, counts: Array | None) -> tuple[Any, Tree]:
            seed = source.seed(outputs, example[1:], extra, column) if source.seed else source.blank
            seed = seed if counts is None else jnp.where(counts, seed, jnp.zeros_like(seed))
            entries, aux = _backward(plan, leaves, (*given, seed))
            return entries, aux[1] if source.seed else aux

        # aux, and what enters the uses, is the same for every column
        return jax.vmap(at, out_axes=(axes, None))(columns, real)

    return jax.vmap(one)(*chunk)


def _forward(plan: Plan, leaves: list[Array], given: tuple[Any, ...]) -> Any:
    """Return the aux of one example."""
    if plan.program is None:
        return plan.fun(leaves, *given)[1]
    return plan.program.forward(*leaves, *jax.tree.leaves(given))[1]


def _backward(plan: Plan, leaves: list[Array], given: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Return what is held of every leaf's gradient of one example, and its aux."""
    if plan.program is None:
        gradients, aux = jax.grad(plan.fun, has_aux=True)(leaves, *given)
        return tuple(gradients), aux
    tapped = run(plan.program, plan.sites, plan.tapped, leaves, jax.tree.leaves(given))
    return tuple(entry_of(plan, i, tapped) for i in range(len(leaves))), tapped.aux


def _column_axes(leaf: LeafPlan) -> Any:
    """Say along which axis what is held of a leaf differs from column to column: cotangents do, inputs do not."""
    if leaf.method != "ghost":
        return 0
    axes: list[Any] = [(0, None) if use.swapped else (None, 0) for use in leaf.uses]
    return [Factors(*pair) for pair in axes]

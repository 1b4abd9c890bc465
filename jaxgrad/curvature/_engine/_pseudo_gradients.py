"""The gradients whose outer products add up to a Fisher matrix, held as what enters and leaves every use of a weight.

For the empirical matrix they are the gradients of the losses, one an example. For the exact one they are the columns of
``J^T R``, with the Jacobian ``J`` of an example's outputs and a root ``R`` of the Hessian of its loss in them; for the
Monte Carlo one the gradients at targets that are drawn. Both are gradients of ``sum(outputs * seed)``, one forward pass
and a backward pass for every seed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Key, LossFn, Params, Tree, Wrt
from jaxgrad._uses._batch import Problem, one_of, problem_of
from jaxgrad._uses._factors import Factors
from jaxgrad._uses._gradient_factors import entry_of
from jaxgrad._uses._plan import LeafPlan, Plan
from jaxgrad._uses._taps import run
from jaxgrad.curvature._engine._output_roots import OutputLoss, output_loss_of

__all__ = ["KINDS", "Source", "pseudo_gradients", "source_of"]

KINDS = ("empirical", "mc", "exact")
"""Which gradients are taken."""


class Source(NamedTuple):
    """A batch, and the pseudo-gradients of one example of it."""

    problem: Problem
    """Of ``fun(leaves, *inputs, seed)``; its plan holds as factors every leaf that can be."""
    batch: tuple[Any, ...]
    """``(examples, extras)``, along their leading axis the examples."""
    columns: int
    """How many pseudo-gradients an example has."""
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
    num_samples: int,
    samples: Any,
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Check the arguments that choose the pseudo-gradients, and plan.

    Raises:
        ValueError: If ``kind`` is unknown, or lacks what it needs.
    """
    _check.choice(kind, "kind", KINDS)
    loss = None if output_loss is None else output_loss_of(output_loss)
    _check_needs(kind, loss, key, samples, batch)
    if kind == "empirical":
        return _of_losses(loss_fn, params, batch, wrt, loss, axis_name, has_aux)
    assert loss is not None, "checked above"
    size = _check.batch(batch)
    if kind == "exact":
        root = loss.column

        def column_of(outputs: Array, targets: tuple[Any, ...], _: Any, column: Array) -> Array:
            return root(outputs, targets, column)

        return _of_outputs(loss_fn, params, batch, wrt, (), None, column_of, axis_name, has_aux)
    count = num_samples if samples is None else _check_samples(samples, size)
    count = _check.count(count, "num_samples", least=1)
    scores, extras = _scores(loss, key, samples, size, axis_name)

    def score_of(outputs: Array, _: Any, extra: Any, column: Array) -> Array:
        return scores(outputs, extra, column) / math.sqrt(count)

    return _of_outputs(loss_fn, params, batch, wrt, extras, count, score_of, axis_name, has_aux)


def _of_outputs(
    model_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    extras: Any,
    columns: int | None,
    seed: Callable[..., Array],
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Return the source whose gradients are those of the outputs times seeds: ``columns`` of them, or one an output."""
    axes = _sharding.varying((params, batch, extras))
    shape = _outputs_of(model_fn, params, batch, has_aux)
    blank = _sharding.vary(jnp.zeros(shape.shape, _tree.accumulator(shape.dtype)), axes)

    def fun(params: Params, x: Any, seed: Array) -> tuple[Array, Any]:
        given = model_fn(params, x)
        outputs, aux = given if has_aux else (given, None)
        return jnp.sum(outputs.astype(seed.dtype) * seed), (outputs, aux)

    def seed_of(outputs: Array, targets: tuple[Any, ...], extra: Any, column: Array) -> Array:
        return _sharding.vary(seed(outputs, targets, extra, column).astype(blank.dtype), axes)

    blanks = jnp.broadcast_to(blank, (_check.batch(batch), *blank.shape))
    problem = problem_of(fun, params, (batch[0], blanks), wrt, "book-keeping", axis_name=axis_name, has_aux=True)
    count = blank.size if columns is None else columns
    return Source(_held(problem), (batch, extras), count, lambda example: example[:1], blank, seed_of)


def _of_losses(
    loss_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    loss: OutputLoss | None,
    axis_name: AxisName,
    has_aux: bool,
) -> Source:
    """Return the source whose gradients are those of the losses, at the targets that were given."""

    def fun(params: Params, *given: Any) -> Any:
        *example, _ = given
        if loss is None:
            return loss_fn(params, *example)
        both = loss_fn(params, example[0])
        outputs, aux = both if has_aux else (both, None)
        value = loss.value(outputs, *example[1:])
        return (value, aux) if has_aux else value

    seeds = jnp.zeros(_check.batch(batch, allow_empty=True))
    problem = problem_of(fun, params, (*batch, seeds), wrt, "book-keeping", axis_name=axis_name, has_aux=has_aux)
    return Source(_held(problem), (batch, ()), 1, lambda example: example, jnp.zeros(()), None)


def _check_needs(kind: str, loss: OutputLoss | None, key: Any, samples: Any, batch: tuple[Any, ...]) -> None:
    """Refuse a kind without what it needs.

    Raises:
        ValueError: With what to pass.
    """
    if kind != "empirical" and loss is None:
        message = (
            f'kind="{kind}" needs the outputs of the model apart from their loss: pass the model of one example first,'
            ' as model_fn(params, x) -> outputs, and output_loss="softmax_cross_entropy", "squared_error", "bernoulli"'
            ' or a function of the outputs and targets; or write kind="empirical" for a loss_fn(params, *example)'
        )
        raise ValueError(message)
    if loss is not None and not batch:
        message = "the batch has no inputs: with output_loss the model is given the first tree of the batch"
        raise ValueError(message)
    if kind == "mc" and loss is not None and loss.draw is None:
        message = (
            'kind="mc" draws targets from the distribution that the loss is the negative logarithm of, and none is'
            ' known of an output_loss that is a function: name one, or write kind="exact"'
        )
        raise ValueError(message)
    if kind == "mc" and key is None and samples is None:
        message = 'kind="mc" needs a random key=, such as jax.random.key(0), or targets that were drawn, as samples='
        raise ValueError(message)
    if kind == "mc" and key is not None and samples is not None:
        message = "samples are targets that were drawn, and key draws them: pass key= or samples=, not both"
        raise ValueError(message)
    if kind == "mc" and key is not None:
        _check.key(key, "key")


def _check_samples(samples: Any, size: int) -> int:
    """Return how many samples of targets there are, of shape ``(num_samples, B, ...)``.

    Raises:
        ValueError: If the second axis is not that of the examples.
    """
    if jnp.ndim(samples) < 2 or samples.shape[1] != size:
        message = (
            f"samples must be targets of shape (num_samples, {size}, ...), a draw for every example;"
            f" got {_check.describe(samples)}"
        )
        raise ValueError(message)
    return samples.shape[0]


def _outputs_of(model_fn: LossFn, params: Params, batch: tuple[Any, ...], has_aux: bool) -> Any:
    """Return the shape of the outputs of one example.

    Raises:
        TypeError: If they are no real floating-point array.
    """
    given = jax.eval_shape(model_fn, params, one_of(batch)[0])
    outputs = _check.pair(given, "model_fn")[0] if has_aux else given
    if not hasattr(outputs, "dtype") or not jnp.issubdtype(outputs.dtype, jnp.floating):
        message = (
            "with output_loss the first function is the model of one example, model_fn(params, x), and must return one"
            f" real floating-point array; got {_check.describe(outputs)}"
        )
        raise TypeError(message)
    return outputs


def _scores(loss: OutputLoss, key: Key | None, samples: Any, size: int, axis_name: AxisName) -> tuple[Any, Any]:
    """Return the gradient in the outputs at a draw of the targets, and what else it takes of an example.

    That is a random key of its own, or its drawn targets. The keys follow the places of the examples in the whole
    batch, so that neither chunks nor devices change a draw.
    """
    assert loss.draw is not None, "checked by _check_needs"
    assert loss.score is not None, "there is one wherever targets are drawn"
    draw, score = loss.draw, loss.score
    if samples is not None:
        return lambda outputs, given, column: score(outputs, jnp.take(given, column, axis=0)), jnp.swapaxes(
            samples, 0, 1
        )
    typed, places = _typed(key), jnp.arange(size, dtype=jnp.int32)
    if axis_name:
        places = places + size * lax.axis_index(_sharding.names(axis_name))
    kind = jax.random.key_impl(typed)

    def drawn(outputs: Array, data: Array, column: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(data, impl=kind), column)
        return score(outputs, lax.stop_gradient(draw(outputs, key)))

    return drawn, jax.random.key_data(jax.vmap(jax.random.fold_in, (None, 0))(typed, places))


def _typed(key: Any) -> Key:
    """Return a key as a typed one."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _held(problem: Problem) -> Problem:
    """Hold as factors every leaf whose gradient is a sum of outer products."""
    leaves = [leaf._replace(method="ghost") if leaf.split is not None else leaf for leaf in problem.plan.leaves]
    return problem._replace(plan=problem.plan._replace(leaves=tuple(leaves)))


def pseudo_gradients(source: Source, chunk: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tree]:
    """Run a chunk forward once, and backward for every column.

    Returns:
        For every leaf its uses as `Factors`, the inputs of shape ``(B, groups, terms, entries)`` and the cotangents of
        shape ``(B, columns, groups, terms, entries)``; or its gradients ``(B, columns, *shape)``, or ``None`` where it
        is not used. And the aux of the examples.
    """
    plan, leaves = source.problem.plan, source.problem.leaves
    axes = tuple(_column_axes(leaf) for leaf in plan.leaves)

    def one(example: tuple[Any, ...], extra: Any) -> tuple[Any, Tree]:
        given = source.inputs(example)
        # the same forward as that of the seeds below: XLA keeps one of them
        outputs = _forward(plan, leaves, (*given, source.blank))[0] if source.seed else None

        def at(column: Array) -> tuple[Any, Tree]:
            seed = source.seed(outputs, example[1:], extra, column) if source.seed else source.blank
            entries, aux = _backward(plan, leaves, (*given, seed))
            return entries, aux[1] if source.seed else aux

        # aux, and what enters the uses, is the same for every column
        return jax.vmap(at, out_axes=(axes, None))(jnp.arange(source.columns))

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

"""Training on weighted examples, which are read by their places in the data at every step, and never copied."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _frames, _sharding, _tree
from jaxgrad._types import Array, AxisName, Params, Tree
from jaxgrad.meta._engine._dependence import chosen, entering, refuse_independent
from jaxgrad.meta._engine._descent import Descent, descend, value_and_grad
from jaxgrad.meta._engine._tasks import arguments, refuse_list

__all__ = ["STATIC", "Reweighted", "known_places", "reweighted"]

F = TypeVar("F", bound=Callable[..., Any])

STATIC = ("validation_loss", "optimizer", "inner_wrt", "memory", "axis_name")
"""The static options that functions of a training on weighted examples share."""


class Reweighted(NamedTuple):
    """A training as a function of the weights of its examples."""

    run: Callable[..., tuple[Array, Descent]]
    """``run(weights, **options)``: the validation loss after training, and what the steps leave behind."""
    gradient: Callable[[], tuple[Array, Descent, Array]]
    """The validation loss, what the steps leave behind, and the derivative by the weights at ``weights``."""
    weights: Array
    """The given weights, or ones."""


def reweighted(
    loss_fn: Callable[..., Any],
    params: Params,
    examples: Tree,
    indices: Any,
    validation: Tree,
    *,
    validation_loss: Callable[..., Any] | None,
    weights: Any,
    inner_wrt: Any,
    axis_name: AxisName,
    **inner: Any,
) -> Reweighted:
    """Return the training, after refusing what does not fit; ``inner`` are the options of `descend`.

    Raises:
        ValueError: If a shape does not fit, or the validation loss does not depend on the parameters.
        TypeError: If the indices are no integers, or the weights are not floating-point.
    """
    count = _check.same_leading(examples=examples)
    places, rows = _places(indices, count), arguments(examples)
    _check.differentiable(params=params)
    loss = _check.scalar_loss(loss_fn)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), rows)
    refuse_list(loss_fn, params, one, "examples and validation")
    weights = _weights(weights, count, jax.eval_shape(loss, params, *one).dtype)
    judged = _judge(loss_fn, validation, validation_loss)
    judged_by = arguments(validation)
    # what the loss of an example does not use no weight of one reaches
    moved = chosen(params, inner_wrt) & entering(loss, params, *one)
    refuse_independent(lambda params: judged(params, *judged_by), params, "the validation loss", moved)
    judge = _sharding.mean_of(judged, axis_name)
    start = _sharding.replicated(params, axis_name)
    options: Any = {"num_steps": len(places), "per_step": True, "axis_name": axis_name, "wrt": inner_wrt, **inner}

    def run(weights: Array, **how: Any) -> tuple[Array, Descent]:
        # widened once: thousands of small numbers are added to the derivative by the weights. Cast here and not at
        # every step: the loss of a step is traced once, and evaluated on what varies already
        read, by = _sharding.vary((rows, _tree.widened(weights)), _sharding.varying((rows, weights, places)))
        step_loss = _step_loss(loss, read, by, axis_name)
        after = descend(step_loss, start, (places,), **{**options, **how})
        return judge(after.params, *judged_by), after

    def gradient() -> tuple[Array, Descent, Array]:
        own = _sharding.own(lambda weights: run(weights)[0], weights)
        (value, after), slope = value_and_grad(run, own)
        wrong = _sharding.sum_over((~_in_range(places, count)).sum(), axis_name)
        return value, after, jnp.where(wrong == 0, slope, jnp.full_like(slope, jnp.nan))

    return Reweighted(run, gradient, weights)


def _step_loss(loss: Callable[..., Any], examples: Any, weights: Array, axis_name: AxisName) -> Callable[..., Any]:
    """Return the objective of a step: the weighted sum of the losses at its places, over the number of filled ones."""
    count = weights.shape[0]

    def objective(params: Params, places: Array) -> Array:
        filled = places >= 0
        # an empty place reads an example of the same step, and counts 0: what was never asked for is never evaluated
        safe = jnp.clip(jnp.where(filled, places, places.max()), 0, count - 1)
        batch, own = jax.tree.map(lambda leaf: _sharding.read(leaf, safe), (examples, weights))
        losses = jax.vmap(lambda *example: loss(params, *example))(*batch)
        own = jnp.where(filled, own, 0)
        # JAX reads the last example where there is none: a number that looks right
        own = jnp.where(_in_range(places, count), own, jnp.nan)
        total = _sharding.sum_over(filled.sum(), axis_name).astype(own.dtype)
        # the loop takes the mean over the devices
        share = _sharding.device_count(axis_name) / jnp.maximum(total, 1)
        return (share * jnp.sum(own * losses.astype(own.dtype))).astype(losses.dtype)

    return objective


def _in_range(places: Any, count: int) -> Any:
    """Say of every place whether it is empty or that of an example."""
    return (places >= -1) & (places < count)


def _judge(loss_fn: Callable[..., Any], validation: Tree, validation_loss: Callable[..., Any] | None) -> Any:
    """Return the validation loss: the given one, or the mean of the loss of one example."""
    if validation_loss is not None:
        return _check.scalar_loss(validation_loss, "validation_loss")
    _check.same_leading(validation=validation)
    loss = _check.scalar_loss(loss_fn)
    return lambda params, *data: jax.vmap(lambda *example: loss(params, *example))(*data).mean()


def _places(indices: Any, count: int) -> Array:
    """Return the indices as an array.

    Raises:
        TypeError: If they are no array of integers.
        ValueError: If they do not have two axes, or no place.
    """
    what = "indices must be an array of integers of shape (num_steps, batch): the examples of every step, -1 for none"
    kind = getattr(indices, "dtype", None)
    if kind is None or not jnp.issubdtype(kind, jnp.integer):
        message = f"{what}; got {_check.describe(indices)}"
        raise TypeError(message)
    if jnp.ndim(indices) != 2 or not jnp.shape(indices)[1]:
        message = f"{what}, batch at least 1; got {_check.describe(indices)}"
        raise ValueError(message)
    if not count:
        message = "there are no examples: the leading axis of every leaf of examples has length 0"
        raise ValueError(message)
    # -1 and the number of examples must both fit
    narrow = indices.dtype.itemsize < 4 or not jnp.issubdtype(kind, jnp.signedinteger)
    return jnp.asarray(indices).astype(jnp.int32) if narrow else jnp.asarray(indices)


def _weights(weights: Any, count: int, kind: Any) -> Array:
    """Return the weights, ones where none are given.

    Raises:
        TypeError: If they are no real floating-point array.
        ValueError: If there is not one for each example.
    """
    if weights is None:
        return jnp.ones(count, _tree.accumulator(kind))
    _check.floating(weights=weights)
    if jnp.shape(weights) != (count,):
        message = (
            f"weights must be one number for each of the {count} examples, of shape ({count},);"
            f" got {_check.describe(weights)}"
        )
        raise ValueError(message)
    return jnp.asarray(weights)


def known_places(fun: F) -> F:
    """Refuse indices outside of the examples before anything is computed, where their numbers are known."""

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = dict(zip(("loss_fn", "params", "examples", "indices"), args, strict=False)) | kwargs
            _refuse_known_places(given.get("indices"), given.get("examples"))
            return fun(*args, **kwargs)
        except Exception as error:
            _frames.hide(error)
            raise

    return cast(F, call)


def _refuse_known_places(indices: Any, examples: Tree) -> None:
    """Refuse indices outside of the examples, where their numbers are known: where they are not, the result is NaN.

    Raises:
        ValueError: With the first of them.
    """
    known = isinstance(indices, np.ndarray) or (isinstance(indices, jax.Array) and not _is_elsewhere(indices))
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(examples) if hasattr(leaf, "shape")}
    if not known or len(shapes) != 1 or () in shapes or not np.issubdtype(indices.dtype, np.integer):
        return
    ((count,),) = shapes
    wrong = np.argwhere(~_in_range(np.asarray(indices).astype(np.int64), count))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        message = (
            f"indices[{', '.join(map(str, at))}] is {int(np.asarray(indices)[at])}, which is no example: there are"
            f" {count}, from 0 to {count - 1}; write -1 for an empty place"
        )
        raise ValueError(message)


def _is_elsewhere(array: jax.Array) -> bool:
    """Say whether the numbers of an array are unknown here: it is traced, or lies on other machines too."""
    return isinstance(array, jax.core.Tracer) or not array.is_fully_addressable

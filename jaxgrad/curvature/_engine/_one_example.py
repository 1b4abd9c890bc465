"""The outputs of one example, as the losses of a batch of outputs take them."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._types import Array, LossFn, Params
from jaxgrad._uses._batch import one_of
from jaxgrad.curvature._engine import _output_checks
from jaxgrad.curvature._engine._output_losses import Generic, Named, of_outputs, unlabelled

__all__ = ["batch_of", "check_targets", "lifted", "loss_at", "shape_of"]


def loss_at(output_loss: Any, outputs: Array, targets: tuple[Any, ...]) -> Named | Generic:
    """Return the loss at the outputs of one example; one by its name takes a batch, of one, and may have no labels."""
    if callable(output_loss):
        return of_outputs(output_loss, outputs, targets)
    batch = lifted(outputs, outputs)[None]
    if not targets:
        return unlabelled(output_loss, batch)
    one = tuple(jnp.asarray(lifted(target, outputs))[None] for target in targets)
    return of_outputs(output_loss, batch, one)


def check_targets(output_loss: Any, outputs: Any, batch: tuple[Any, ...]) -> None:
    """Refuse targets that a loss by its name does not take, with the shapes of the whole batch.

    Raises:
        ValueError: If there is not one, or it has another shape.
        TypeError: If class numbers are no integers.
    """
    if callable(output_loss):
        return
    if len(batch) != 2:
        message = (
            f'output_loss="{output_loss}" takes one target: the batch is then (inputs, targets); got {len(batch)}'
            " trees, and weights of examples are given as weights="
        )
        raise ValueError(message)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), batch[1])
    jax.eval_shape(
        lambda labels: (_output_checks.labels_of(output_loss, batch_of(outputs, _check.batch(batch)), labels), None),
        lifted(shapes, outputs),
    )


def shape_of(model_fn: LossFn, params: Params, batch: tuple[Any, ...], has_aux: bool) -> Any:
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


def batch_of(outputs: Any, size: int) -> Any:
    """Return the shape that the outputs of a batch would have for a loss by its name."""
    return jax.ShapeDtypeStruct((size, *(outputs.shape or (1,))), outputs.dtype)


def lifted(value: Any, outputs: Any) -> Any:
    """Give what belongs to an output without an axis one axis more."""
    if outputs.shape:
        return value
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((*value.shape, 1), value.dtype)
    return jnp.asarray(value)[..., None]

"""The loss of a batch as a weighted sum over its examples, such as adds up over a data set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._types import Array, Tree

__all__ = ["weighted_loss"]


def weighted_loss(loss_fn: Callable[..., Any]) -> Callable[..., Array]:
    r"""Turn a loss of one example into a weighted sum over a batch.

    .. math:: L(\theta) = \sum_i w_i \, \ell(\theta, x_i)

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. More in ``help(jaxgrad)``.

    Returns:
        ``loss(params, *batch, weights) -> ()``, the loss that `over_dataset` wants in its product. It is known by
        ``loss_fn``, so that the same function twice is one program.

    Raises:
        TypeError: If ``loss_fn`` is no function; and when it is called, if it returns no real number alone (an aux has
            no place in a sum).
        ValueError: When it is called, if a loss is no scalar, or the weights have another shape than ``(examples,)``.

    Cost:
        The losses of all examples at once, by ``jax.vmap``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w * x
        >>> jaxgrad.curvature.weighted_loss(loss)(jnp.array(2.0), jnp.array([1.0, 3.0]), jnp.array([1.0, 0.5])).item()
        5.0

    References:
        Importance weights of empirical risk, Vapnik (1998), Statistical Learning Theory.
    """
    if not callable(loss_fn):
        message = f"weighted_loss: loss_fn must be a function; got {_check.describe(loss_fn)}"
        raise TypeError(message)
    return functools.partial(_weighted_sum, loss_fn)


def _weighted_sum(loss_fn: Callable[..., Any], params: Tree, *given: Any) -> Array:
    """Return the weighted sum of the losses of the examples; the weights come last."""
    *batch, weights = given

    def one(params: Tree, *example: Any) -> Any:
        out = loss_fn(params, *example)
        if isinstance(out, tuple):
            message = (
                f"weighted_loss takes a loss that returns one real scalar for an example; got a tuple of {len(out)}:"
                " return the loss alone, an aux has no place in a sum"
            )
            raise TypeError(message)
        return _check.real_scalar(out)

    if jnp.ndim(weights) != 1 or jnp.shape(weights)[0] != _check.batch(tuple(batch)):
        message = (
            "the last argument of a weighted loss must be the weights of the examples, of shape"
            f" [{_check.batch(tuple(batch))}]; got {_check.describe(weights)}"
        )
        raise ValueError(message)
    losses = jax.vmap(one, in_axes=(None,) + (0,) * len(batch))(params, *batch)
    return jnp.sum(losses * jnp.asarray(weights).astype(losses.dtype))

"""Weights that do not look at the gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key
from jaxgrad.multi_loss._engine._gram import checked
from jaxgrad.multi_loss._preferences import FINITE
from jaxgrad.multi_loss._vector import coefficients

__all__ = ["constant_weights", "mean_weights", "random_weights", "sum_weights"]


@jit()
def mean_weights(gram: ArrayLike) -> Array:
    r"""Weigh several gradients alike, so that they make their mean.

    .. math:: w_k = 1 / K

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``, of which the shape alone counts.

    Returns:
        The weights, of shape ``(K,)``.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers.
        ValueError: If ``gram`` is not square.

    Cost:
        No gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.multi_loss.mean_weights(jnp.eye(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]

    References:
        Caruana (1997), Multitask learning, Machine Learning 28.
    """
    matrix = checked(gram)
    return jnp.full(len(matrix), 1 / len(matrix), jnp.result_type(gram))


@jit()
def sum_weights(gram: ArrayLike) -> Array:
    r"""Weigh several gradients by one each, so that they make their sum.

    .. math:: w_k = 1

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``, of which the shape alone counts.

    Returns:
        The weights, of shape ``(K,)``.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers.
        ValueError: If ``gram`` is not square.

    Cost:
        No gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.multi_loss.sum_weights(jnp.eye(2)).tolist()
        [1.0, 1.0]

    References:
        Caruana (1997), Multitask learning, Machine Learning 28.
    """
    return jnp.ones(len(checked(gram)), jnp.result_type(gram))


@jit(checks={"preferences": FINITE})
def constant_weights(gram: ArrayLike, *, preferences: ArrayLike) -> Array:
    r"""Weigh several gradients by numbers of one's own.

    .. math:: w_k = p_k

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``, of which the shape alone counts.
        preferences: The weights, of shape ``(K,)``, of any sign: a negative one raises its loss, zeros move nothing.

    Returns:
        The weights, of shape ``(K,)``.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``preferences`` are no real numbers.
        ValueError: If ``gram`` is not square, or ``preferences`` has not one number for each loss, or a number of
            Python or NumPy that is NaN or infinite; traced ones are returned as they are.

    Cost:
        No gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.multi_loss.constant_weights(jnp.eye(2), preferences=jnp.array([1.0, 10.0])).tolist()
        [1.0, 10.0]

    References:
        Caruana (1997), Multitask learning, Machine Learning 28.
    """
    diagonal = jnp.diagonal(checked(gram))
    return coefficients(preferences, "preferences", diagonal, 1.0).astype(jnp.result_type(gram))


@jit()
def random_weights(gram: ArrayLike, *, key: Key) -> Array:
    r"""Weigh several gradients at random (random loss weighting): the softmax of independent normal numbers.

    .. math:: w = \text{softmax}(\xi), \qquad \xi \sim \mathcal{N}(0, I)

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``, of which the shape alone counts.
        key: A random key; a new one for each step.

    Returns:
        The weights, of shape ``(K,)``, positive and of sum 1.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``key`` is no random key.
        ValueError: If ``gram`` is not square.

    Cost:
        No gradient.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> weights = jaxgrad.multi_loss.random_weights(jnp.eye(3), key=jax.random.key(0))
        >>> weights.shape, bool(jnp.allclose(weights.sum(), 1))
        ((3,), True)

    References:
        Lin et al. (2022), Reasonable effectiveness of random weighting, TMLR.
    """
    _check.key(key, "key")
    matrix = checked(gram)
    return jax.nn.softmax(jax.random.normal(key, (len(matrix),), matrix.dtype)).astype(jnp.result_type(gram))

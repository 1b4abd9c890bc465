"""Points drawn where the error is largest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key
from jaxgrad.inr._engine import one_array

__all__ = ["sample_by_error"]


@jit("count", "uniform")
def sample_by_error(key: Key, errors: ArrayLike, count: int, *, uniform: float = 0.0) -> tuple[Array, Array]:
    r"""Draw points of a pool in proportion to their errors, with weights that keep the mean over the pool.

    .. math:: p_i = (1 - u) \frac{e_i}{\sum_k e_k} + \frac{u}{N}, \qquad w_j = \frac{1}{N p_{i_j}}, \qquad
              \mathbb E \left[\frac 1 n \sum_{j=1}^n w_j\, g_{i_j}\right] = \frac 1 N \sum_i g_i

    for every :math:`g` that is 0 where :math:`p` is. Take the mean of ``weights * losses[indices]`` in the place of the
    mean of ``losses``. The draws are stratified, one in each of ``count`` equal parts of the distribution, which lowers
    the variance and leaves the mean as it is: an error of more than ``1 / count`` of the sum is always drawn.

    Args:
        key: Random key; one for each call.
        errors: Floating-point array of shape ``(N,)``, not negative; where all are 0 each counts the same. They are
            taken as constants: nothing is differentiated through the draw. In float32, errors below 6e-8 of the sum
            may never be drawn.
        count: How many points, a positive Python integer; it may exceed ``N``.
        uniform: The share :math:`u` that is drawn whatever the errors, a Python number from 0 to 1. Above 0 no weight
            exceeds ``1 / uniform``, and points whose errors are old or 0 keep their part in the mean.

    Returns:
        The indices, of shape ``(count,)``, in ascending order, and their weights, of the same shape, in the dtype of
        the errors, float32 at the least. An error that is NaN, infinite or negative makes every weight NaN.

    Raises:
        ValueError: If ``errors`` has another rank or no entry, ``count`` is not positive, or ``uniform`` lies outside
            of 0 to 1.
        TypeError: If ``key`` is no random key, ``errors`` is no real floating-point array, or ``count`` is no Python
            integer, or ``uniform`` no number.

    Cost:
        A cumulative sum of the errors, and a binary search for each point.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> errors = jnp.array([1.0, 0.0, 3.0])
        >>> indices, weights = jaxgrad.inr.sample_by_error(jax.random.key(0), errors, 4)
        >>> indices.tolist(), round(jnp.mean(weights * errors[indices]).item(), 4)
        ([0, 2, 2, 2], 1.3333)

    References:
        Kahn and Marshall (1953), Methods of reducing sample size in Monte Carlo computations, Journal of the Operations
        Research Society of America 1; Katharopoulos and Fleuret (2018), Not all samples are created equal, ICML.
    """
    _check.key(key, "key")
    found = one_array("errors", errors)
    _check.number(uniform, "uniform")
    count = _check.count(count, "count", least=1)
    if found.ndim != 1 or found.size == 0:
        message = f"errors must have shape (N,), one for each point of the pool; got {_check.describe(found)}"
        raise ValueError(message)
    if not 0 <= uniform <= 1:
        message = f"uniform must be a share from 0 to 1; got {uniform!r}"
        raise ValueError(message)
    given = lax.stop_gradient(_sharding.gathered(_tree.widened(found)))
    chances = _chances(given, float(uniform))
    indices = _stratified(key, chances, count)
    return indices, 1 / (len(given) * chances[indices])


def _chances(errors: Array, share: float) -> Array:
    """Return the probability of every point."""
    # by the largest first: the sum of large or small errors stays in range
    errors = jnp.where(errors < 0, jnp.nan, errors)
    largest = jnp.max(errors)
    even = jnp.ones_like(errors)
    scaled = jnp.where(largest == 0, even, errors / jnp.where(largest == 0, jnp.ones_like(largest), largest))
    return (1 - share) * scaled / jnp.sum(scaled) + share / len(errors)


def _stratified(key: Key, chances: Array, count: int) -> Array:
    """Draw one index from each of ``count`` equal parts of the distribution."""
    shares = jnp.cumsum(chances)
    parts = jnp.arange(count, dtype=chances.dtype) + jax.random.uniform(key, (count,), chances.dtype)
    # below 1 and then below the whole sum, so that no point of chance 0 behind the last one is found
    level = jnp.minimum(parts / count, 1 - jnp.finfo(chances.dtype).epsneg) * shares[-1]
    found = jnp.searchsorted(shares, level, side="right")
    return jnp.minimum(found, len(chances) - 1).astype(jnp.int32)

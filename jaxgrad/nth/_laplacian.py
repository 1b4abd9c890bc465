"""Sums of second derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad._jit import jit
from jaxgrad._types import Array, Tree
from jaxgrad.nth import _line

__all__ = ["laplacian"]


@jit("fun")
def laplacian(fun: Callable[..., Tree], x: Array, *data: Any) -> Tree:
    r"""Return the Laplacian of a function of several variables.

    .. math:: \Delta f(x) = \sum_{i=1}^d \frac{\partial^2 f}{\partial x_i^2}

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.

    Returns:
        The Laplacian of every entry of the output.

    Raises:
        ValueError: If ``x`` is no vector.
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        ``2 d + 1`` evaluations.

    Example:
        >>> import jax.numpy as jnp
        >>> def bowl(x):
        ...     return jnp.sum(x**2)
        >>> laplacian(bowl, jnp.ones(3)).item()
        6.0

    References:
        Li et al. (2024), A computational framework for neural network-based variational Monte Carlo with forward
        Laplacian, Nature Machine Intelligence 6.
    """
    x = _line.check_vector(x)
    pure = jax.vmap(lambda v: _line.derivatives_along(lambda point: fun(point, *data), x, v, 2)[-1])
    return jax.tree.map(lambda parts: jnp.sum(parts, axis=0), pure(jnp.eye(x.size, dtype=x.dtype)))

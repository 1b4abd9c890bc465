"""The Laplacian of the Laplacian."""

from __future__ import annotations

from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, R, Ts
from jaxgrad.nth import _taylor_line
from jaxgrad.nth._laplacian import laplacian

__all__ = ["biharmonic"]


@jit("fun")
def biharmonic(fun: Function[Array, *Ts, R], x: ArrayLike, *data: *Ts) -> R:
    r"""Return the biharmonic operator of a function of several variables.

    .. math:: \Delta^2 f(x) = \sum_{i,j=1}^d \frac{\partial^4 f}{\partial x_i^2 \, \partial x_j^2}

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.

    Returns:
        The biharmonic of every entry of the output.

    Raises:
        ValueError: If ``x`` is no vector.
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        ``(d + 2) ** 2`` evaluations: the Laplacian of the Laplacian, each with one coefficient for the sum of its
        second derivatives. Interpolation from fourth derivatives along lines takes ``3 d ** 2 + 2``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def quartic(x):
        ...     return jnp.sum(x**2) ** 2
        >>> jaxgrad.nth.biharmonic(quartic, jnp.ones(2)).item()
        64.0

    References:
        Dangel et al. (2025), Collapsing Taylor mode automatic differentiation, NeurIPS.
    """
    return laplacian(lambda point: laplacian(fun, point, *data), _taylor_line.check_vector(x))

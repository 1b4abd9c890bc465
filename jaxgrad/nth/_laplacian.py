"""Second derivatives, and weighted sums of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, R, Tree, Ts
from jaxgrad.nth import _taylor_line

__all__ = ["laplacian", "second_derivatives", "value_gradient_laplacian", "weighted_laplacian"]


@jit("fun", "chunk")
def laplacian(fun: Function[Array, *Ts, R], x: ArrayLike, *data: *Ts, chunk: int | None = None) -> R:
    r"""Return the Laplacian of a function of several variables.

    .. math:: \Delta f(x) = \sum_{i=1}^d \frac{\partial^2 f}{\partial x_i^2}

    A `jax.custom_jvp` or `jax.custom_vjp` counts by its rule at every order, even where the rule hides its derivative
    from JAX; nested `jax.jvp` and `jaxgrad.curvature` then differentiate what the rule returns (docs/nth.md).

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.
        chunk: How many directions are followed at once, all where it is ``None``: fewer take less memory and repeat the
            value's evaluation. It need not divide d.

    Returns:
        The Laplacian of every entry of the output.

    Raises:
        ValueError: If ``x`` is no vector, or ``chunk`` is below 1.
        TypeError: If ``x`` is no real floating-point array, or ``chunk`` no Python integer.

    Cost:
        ``d + 2`` evaluations: the value, d first derivatives, and the sum of the second ones, which is carried as
        one coefficient. Less where the first layer's derivatives do not depend on the point. Each further chunk
        evaluates the value and the sum again.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def bowl(x):
        ...     return jnp.sum(x**2)
        >>> jaxgrad.nth.laplacian(bowl, jnp.ones(3)).item()
        6.0

    References:
        Li et al. (2024), A computational framework for neural network-based variational Monte Carlo with forward
        Laplacian, Nature Machine Intelligence 6.
        Dangel et al. (2025), Collapsing Taylor mode automatic differentiation, NeurIPS.
    """
    x = _taylor_line.check_vector(x)
    return _taylor_line.second_order(fun, x, jnp.eye(x.size, dtype=x.dtype), None, data, chunk)[2]


@jit("fun", "chunk")
def value_gradient_laplacian(
    fun: Function[Array, *Ts, R], x: ArrayLike, *data: *Ts, chunk: int | None = None
) -> tuple[R, R, R]:
    r"""Return the value, the gradient and the Laplacian of a function of several variables, from one pass.

    .. math:: \left( f(x), \; \nabla f(x), \; \Delta f(x) \right)

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.
        chunk: How many directions are followed at once, all where it is ``None``: fewer take less memory and repeat the
            value's evaluation. It need not divide d.

    Returns:
        ``(value, gradient, laplacian)``. The first and the last are like the output of ``fun``; the gradient has a
        new last axis of length d, as `jax.jacobian`'s. Those of an output of integers are JAX's ``float0``.

    Raises:
        ValueError: If ``x`` is no vector, or ``chunk`` is below 1.
        TypeError: If ``x`` is no real floating-point array, or ``chunk`` no Python integer.

    Cost:
        ``d + 2`` evaluations, as `laplacian`, which computes the other two on its way. Each further chunk evaluates
        the value and the sum again.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def bowl(x):
        ...     return jnp.sum(x**2)
        >>> [part.tolist() for part in jaxgrad.nth.value_gradient_laplacian(bowl, jnp.array([1.0, 2.0]))]
        [5.0, [2.0, 4.0], 4.0]

    References:
        Li et al. (2024), A computational framework for neural network-based variational Monte Carlo with forward
        Laplacian, Nature Machine Intelligence 6.
    """
    x = _taylor_line.check_vector(x)
    value, slopes, total = _taylor_line.second_order(fun, x, jnp.eye(x.size, dtype=x.dtype), None, data, chunk)
    last = _taylor_line.unless_float0(lambda leaf: jnp.moveaxis(leaf, 0, -1), lambda shape: (*shape[1:], shape[0]))
    return value, jax.tree.map(last, slopes), total


@jit("fun", "factored", "chunk")
def weighted_laplacian(
    fun: Function[Array, *Ts, R],
    x: ArrayLike,
    weights: ArrayLike,
    *data: *Ts,
    factored: bool = False,
    chunk: int | None = None,
) -> R:
    r"""Return a weighted sum of the second derivatives of a function of several variables.

    .. math:: \sum_{i,j=1}^d C_{ij} \frac{\partial^2 f}{\partial x_i \, \partial x_j}

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        weights: The diagonal of C, shape ``(d,)``, or all of C, shape ``(d, d)``, of which the symmetric part counts.
            Any signs; differentiable.
        *data: Pytrees handed on to ``fun``; not differentiated.
        factored: Whether ``weights`` is a factor S of shape ``(d, r)`` with :math:`C = S S^T` instead, such as the
            diffusion of a stochastic process.
        chunk: How many directions are followed at once, all where it is ``None``: fewer take less memory and repeat the
            value's evaluation. It need not divide their number.

    Returns:
        The weighted sum for every entry of the output.

    Raises:
        ValueError: If ``x`` is no vector, ``weights`` has another shape, or ``chunk`` is below 1.
        TypeError: If ``x`` or ``weights`` is no real floating-point array, or ``chunk`` no Python integer.

    Cost:
        ``d + 2`` evaluations for a diagonal, ``r + 2`` for a factor, ``2 d + 2`` for a matrix: the derivatives along
        each axis and along each row, and the sum of the second derivatives along both, which is exact at any scale.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def product(x):
        ...     return x[0] * x[1]
        >>> jaxgrad.nth.weighted_laplacian(product, jnp.ones(2), jnp.array([[1.0, 3.0], [3.0, 1.0]])).item()
        6.0

    References:
        Dangel et al. (2025), Collapsing Taylor mode automatic differentiation, NeurIPS, section 3.
    """
    x = _taylor_line.check_vector(x)
    _check.differentiable(weights=weights)
    weights, unit = _in_range_of(x.dtype, jnp.asarray(weights))
    eye = jnp.eye(x.size, dtype=x.dtype)
    if factored and weights.ndim == 2 and weights.shape[0] == x.size:
        return _restored(_restored(_taylor_line.second_order(fun, x, weights.T, None, data, chunk)[2], unit), unit)
    if not factored and weights.shape == x.shape:
        return _restored(_taylor_line.second_order(fun, x, eye, weights, data, chunk)[2], unit)
    if not factored and weights.shape == (x.size, x.size):
        # halves are added, for a sum of two large entries may overflow
        return _restored(_taylor_line.sum_of_mixed(fun, x, eye, weights / 2 + weights.T / 2, data, chunk), unit)
    expected = f"({x.size}, r)" if factored else f"({x.size},) or ({x.size}, {x.size})"
    message = f"weights must have the shape {expected} for x of length {x.size}; got {weights.shape}"
    raise ValueError(message)


def _in_range_of(dtype: Any, weights: Array) -> tuple[Array, Array | None]:
    """Return weights in a dtype, and what they are divided by where that has not the range of their own."""
    if jnp.finfo(weights.dtype).maxexp <= jnp.finfo(dtype).maxexp:
        return weights.astype(dtype), None
    unit = _tree.power_of_two(jnp.max(jnp.abs(weights), initial=0.0))
    return (weights / unit).astype(dtype), unit


def _restored(total: Tree, unit: Array | None) -> Tree:
    """Undo that division."""
    if unit is None:
        return total

    def whole(c: Array) -> Array:
        wide = jnp.promote_types(c.dtype, unit.dtype)
        return (c.astype(wide) * unit.astype(wide)).astype(c.dtype)

    return jax.tree.map(_taylor_line.unless_float0(whole), total)


@jit("fun", "chunk")
def second_derivatives(fun: Function[Array, *Ts, R], x: ArrayLike, *data: *Ts, chunk: int | None = None) -> R:
    r"""Return the pure second derivatives of a function of several variables, not summed.

    .. math:: \frac{\partial^2 f}{\partial x_i^2}, \quad i = 1, \dots, d

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.
        chunk: How many directions are followed at once, all where it is ``None``: fewer take less memory and repeat the
            value's evaluation. It need not divide d.

    Returns:
        The diagonal of the Hessian of every entry of the output, along a new leading axis of length d.

    Raises:
        ValueError: If ``x`` is no vector, or ``chunk`` is below 1.
        TypeError: If ``x`` is no real floating-point array, or ``chunk`` no Python integer.

    Cost:
        ``2 d + 1`` evaluations.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def polynomial(x):
        ...     return x[0] ** 2 + x[0] * x[1] ** 3
        >>> jaxgrad.nth.second_derivatives(polynomial, jnp.array([1.0, 2.0])).tolist()
        [2.0, 12.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 13.
    """
    x = _taylor_line.check_vector(x)

    def pure(number: Array, direction: Array) -> tuple[None, None, Tree]:
        del number
        return None, None, _taylor_line.derivatives_along(lambda point: fun(point, *data), x, direction, 2)[-1]

    return _taylor_line.over_directions(pure, (jnp.eye(x.size, dtype=x.dtype),), chunk)[2]

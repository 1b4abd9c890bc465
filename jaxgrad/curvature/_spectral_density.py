"""The density of the eigenvalues of a matrix that is known by its products."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._probes import probes_of
from jaxgrad.curvature._engine._quadrature import quadrature
from jaxgrad.curvature._engine._symmetric import ProductFn, held, over_floats, times

__all__ = ["SpectralDensity", "spectral_density"]

REACH = 4.0
"""How many widths of a bump the grid goes beyond the outer nodes: less than 1e-4 of its mass lies further out."""


class SpectralDensity(NamedTuple):
    """An estimate of the density of eigenvalues; it integrates to one."""

    grid: Array
    """Where it is evaluated, of shape ``(points,)``."""
    density: Array
    """The mean over the probes, of the same shape."""
    standard_error: Array
    """The standard deviation of that mean at every point, as estimated from the same probes."""
    nodes: Array
    """The Ritz values of every probe, of shape ``(num_samples, num_products)``; the outer ones are eigenvalues."""
    weights: Array
    """Their shares of the eigenvalues, of the same shape; they add up to one for every probe."""


@jit("product", "num_samples", "num_products", "num_points", "chunk", positive=("bandwidth",))
def spectral_density(
    product: ProductFn,
    params: T,
    *data: Any,
    key: Key | None = None,
    num_samples: int = 8,
    num_products: int = 40,
    probes: T | None = None,
    grid: ArrayLike | None = None,
    num_points: int = 512,
    bandwidth: ArrayLike | None = None,
    chunk: int | None = 1,
) -> SpectralDensity:
    r"""Estimate the density of the eigenvalues of a symmetric matrix, smoothed to a width, with a standard error.

    .. math:: \phi_\sigma(t) = \frac1P \sum_{k=1}^P N(t; \lambda_k, \sigma^2)
              \approx \frac1n \sum_{i=1}^n \sum_{j=1}^m \tau_{i j}\, N(t; \theta_{i j}, \sigma^2)

    Stochastic Lanczos quadrature: :math:`\theta` are the eigenvalues of the matrix in the Krylov space of a random
    direction, and :math:`\tau` the squared first entries of its eigenvectors. All of it is a constant of
    differentiation.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        key: The random key that draws the probes.
        num_samples: How many to draw, two or more.
        num_products: The dimension of the Krylov spaces; never more than ``P``, where they are exact.
        probes: The directions, a tree like ``params`` with a new leading axis, in place of random ones.
        grid: Where to evaluate, a vector; ``None``: ``num_points`` evenly from the smallest node to the largest.
        num_points: How many points where no grid is given, two or more.
        bandwidth: The width :math:`\sigma`; ``None``: a hundredth of the distance between the outer nodes.
        chunk: How many spaces are built at once; all where it is ``None``.

    Returns:
        `SpectralDensity`: ``grid``, ``density``, ``standard_error``, ``nodes`` and ``weights``.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, there are fewer than two, ``num_products``,
            ``num_points`` or ``chunk`` is too small, ``bandwidth`` is not positive, ``grid`` is no vector, or a tree
            does not mirror ``params``.
        TypeError: If no leaf of ``params`` is a real floating-point array.

    Cost:
        ``num_samples * num_products`` products, and the memory of ``chunk * num_products`` trees like ``params``.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([1.0, 1.0, 3.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> found = curvature.spectral_density(hessian, jnp.ones(3), key=jax.random.key(0))
        >>> total = jnp.trapezoid(found.density, found.grid)
        >>> found.density.shape, bool(abs(total - 1) < 1e-3)
        ((512,), True)

    References:
        Lin, Saad and Yang (2016), Approximating spectral densities of large matrices, SIAM Review 58;
        Ghorbani, Krishnan and Xiao (2019), An investigation into neural net optimization via Hessian eigenvalue
        density, arXiv:1901.10159.
    """
    drawn = probes_of(params, _stacks.signs, key, num_samples, probes, chunk, 2)
    point = over_floats(params).active
    steps = min(_check.count(num_products, "num_products", least=1), _stacks.size(point))
    constant, _, _ = held(times(product, params, data), _tree.widened(point))
    found = lax.stop_gradient(quadrature(constant, drawn, steps))
    nodes, weights = found.nodes, found.weights
    low, high = jnp.min(nodes), jnp.max(nodes)
    # of a multiple of the identity all nodes are one: it has its own size for a scale
    scale = jnp.maximum(high - low, 1e-2 * jnp.maximum(jnp.maximum(jnp.abs(low), jnp.abs(high)), 1e-6))
    width = lax.stop_gradient(0.01 * scale if bandwidth is None else jnp.asarray(bandwidth, nodes.dtype))
    if grid is None:
        count = _check.count(num_points, "num_points", least=2)
        grid = jnp.linspace(low - REACH * width, high + REACH * width, count, dtype=nodes.dtype)
    points = lax.stop_gradient(jnp.asarray(grid, nodes.dtype))
    if points.ndim != 1:
        message = f"grid must be a vector of the points to evaluate at; got {_check.describe(points)}"
        raise ValueError(message)
    samples = jax.vmap(lambda at, share: _bumps(points, at, share, width))(nodes, weights)
    error = jnp.std(samples, axis=0, ddof=1) / drawn.number**0.5
    return SpectralDensity(points, jnp.mean(samples, axis=0), error, nodes, weights)


def _bumps(points: Array, nodes: Array, weights: Array, width: Array) -> Array:
    """Return a sum of normal densities at every point."""
    apart = (points[:, None] - nodes[None]) / width
    return jnp.exp(-0.5 * apart**2) @ weights / (width * (2 * jnp.pi) ** 0.5)

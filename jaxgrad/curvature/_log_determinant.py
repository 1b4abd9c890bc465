"""The log-determinant of a damped matrix that is known by its products, as an estimate with an error."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._probes import probes_of
from jaxgrad.curvature._engine._quadrature import quadrature
from jaxgrad.curvature._engine._symmetric import ProductFn, held, over_floats, times, with_slopes

__all__ = ["LogDeterminant", "log_determinant"]


class LogDeterminant(NamedTuple):
    """An estimate of a log-determinant."""

    estimate: Array
    """NaN, or minus infinity, where the damped matrix is ``indefinite``."""
    standard_error: Array
    """The standard deviation of the estimate, as estimated from the same probes."""
    indefinite: Array
    """Whether a probe met an eigenvalue of the damped matrix that is not positive: it has no logarithm. Where the
    estimate is NaN and this is false, a product was not finite."""


@jit("product", "num_samples", "num_products", "chunk", non_negative=("damping",))
def log_determinant(
    product: ProductFn,
    params: T,
    *data: Any,
    damping: ArrayLike,
    key: Key | None = None,
    num_samples: int = 16,
    num_products: int = 32,
    probes: T | None = None,
    chunk: int | None = 1,
) -> LogDeterminant:
    r"""Estimate the log-determinant of a damped, positive definite matrix.

    .. math:: \log\det(A + \delta I) = \operatorname{tr} \log(A + \delta I)
              \approx \frac1n \sum_i \lVert v_i \rVert^2 \, e_1^\top \log(T_i)\, e_1

    Stochastic Lanczos quadrature: :math:`T_i` is the matrix in the Krylov space of the random direction
    :math:`v_i`. Its error is that of the trace's estimate, and falls with ``num_products`` as fast as a polynomial
    approximates the logarithm between the smallest and the largest eigenvalue, so damping helps.

    Differentiable once, with respect to ``params``, ``data``, ``damping`` and what ``product`` closes over:
    :math:`d \log\det A = \operatorname{tr} A^{-1} dA`, estimated with the same probes and spaces. It is an estimate of
    the derivative, and not the derivative of the estimate.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        damping: The number that is added to the diagonal, not negative.
        key: The random key that draws the probes.
        num_samples: How many to draw, two or more.
        num_products: The dimension of the Krylov spaces; never more than ``P``, where they are exact.
        probes: The directions, a tree like ``params`` with a new leading axis, in place of random ones.
        chunk: How many spaces are built at once; all where it is ``None``.

    Returns:
        `LogDeterminant`: ``estimate``, ``standard_error`` and ``indefinite``. Where that is true the matrix is not
        positive definite, the estimate is not finite, and more damping is needed: more than the smallest eigenvalue
        of `eigenpairs` is below zero.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, there are fewer than two, ``num_products`` or
            ``chunk`` is below 1, ``damping`` is negative, or a tree does not mirror ``params``.
        TypeError: If no leaf of ``params`` is a real floating-point array.

    Cost:
        ``num_samples * num_products`` products, and the memory of ``chunk * num_products`` trees like ``params``.

    Example:
        >>> import functools, math
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([1.0, 5.0, 3.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> found = curvature.log_determinant(hessian, jnp.ones(3), damping=1.0, key=jax.random.key(0))
        >>> bool(abs(found.estimate - math.log(2 * 6 * 4)) < 1e-4)
        True

    References:
        Ubaru, Chen and Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos quadrature, SIMAX 38;
        Gardner et al. (2018), GPyTorch (the derivative), arXiv:1809.11165.
    """
    undamped, point = times(product, params, data), over_floats(params).active
    _check.number(damping, "damping")
    drawn = probes_of(params, _stacks.signs, key, num_samples, probes, chunk, 2)
    steps = min(_check.count(num_products, "num_products", least=1), _stacks.size(point))

    def apply(vector: Tree) -> Tree:
        return _stacks.axpy(damping, vector, undamped(vector))

    constant, moving, inputs = held(apply, _tree.widened(point))
    found = lax.stop_gradient(quadrature(constant, drawn, steps, inverses=True))
    samples = found.squares * jnp.sum(found.weights * jnp.log(found.nodes), axis=1)
    samples = with_slopes(samples, found.inverses, found.probes, moving, inputs)
    error = _tree.safe_sqrt(lax.stop_gradient(jnp.var(samples, ddof=1)) / drawn.number)
    return LogDeterminant(jnp.mean(samples), error, jnp.any(found.nodes <= 0))

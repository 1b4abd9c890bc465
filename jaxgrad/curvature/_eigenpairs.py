"""A few eigenvalues of a symmetric matrix, with their eigenvectors, by products with it."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._lanczos import lanczos, tridiagonal
from jaxgrad.curvature._engine._symmetric import ProductFn, held, over_floats, times, with_slopes

__all__ = ["Eigenpairs", "eigenpairs"]

WHICH = ("largest", "smallest", "magnitude")


class Eigenpairs(NamedTuple, Generic[T]):
    """The pairs asked for, the first one first; ``k`` is how many."""

    values: Array
    """The eigenvalues, of shape ``(k,)``."""
    vectors: T
    """A tree like ``params`` with a new leading axis of length ``k``: eigenvectors of length one."""
    residuals: Array
    """The norms of ``A v - value * v``, of shape ``(k,)``: an eigenvalue of A lies so near to each value."""
    converged: Array
    """Of shape ``(k,)``: whether the residual is below the tolerance. Do not use a pair that has not converged."""


@jit("product", "k", "which", "num_products", non_negative=("tolerance",))
def eigenpairs(
    product: ProductFn,
    params: T,
    *data: Any,
    k: int,
    which: Literal["largest", "smallest", "magnitude"] = "largest",
    num_products: int | None = None,
    key: Key | None = None,
    start: T | None = None,
    tolerance: ArrayLike = 1e-3,
) -> Eigenpairs[T]:
    r"""Find extreme eigenvalues and eigenvectors of a symmetric matrix that is known by its products.

    .. math:: A v_i = \lambda_i v_i, \qquad T = Q^\top A\, Q, \quad v_i = Q s_i, \quad
              \lVert A v_i - \lambda_i v_i \rVert = \beta_m \lvert s_{m i} \rvert

    Lanczos with full reorthogonalisation: Q is an orthonormal basis of what ``num_products`` products make of one
    direction, a tree whose leaves have one more axis, laid out over devices as ``params``. The largest eigenvalues of
    a Hessian converge within a few dozen products; the smallest lie close together and take many.

    The eigenvalues are differentiable, :math:`d\lambda = v^\top (dA)\, v`, once, and rightly where the pair has
    converged; the vectors and residuals are constants of differentiation.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        k: How many pairs, at most ``P``.
        which: ``"largest"``, ``"smallest"``, or those largest in ``"magnitude"``; that end comes first.
        num_products: The dimension of the Krylov space, at least ``k``; ``None``: ``4 k``, at least 40. Never more
            than ``P``, where all pairs are exact.
        key: The random key that draws the first direction, where ``start`` gives none.
        start: The first direction, a tree like ``params``, of any length; one of zeros gives way to another direction.
        tolerance: A pair has converged where its residual is below ``tolerance`` times its eigenvalue, or in the
            rounding of the largest one.

    Returns:
        `Eigenpairs`: ``values``, ``vectors``, ``residuals`` and ``converged``. Where a product is not finite nor are
        they, and nothing has converged.

    Raises:
        ValueError: If ``k`` or ``num_products`` is out of range, both or none of ``key`` and ``start`` are given,
            ``start`` or what ``product`` returns does not mirror ``params``, or ``tolerance`` is negative.
        TypeError: If no leaf of ``params`` is a real floating-point array, or ``k`` no Python integer.

    Cost:
        ``num_products`` products, ``4 * num_products**2 * P`` operations beside them, and the memory of
        ``num_products + k`` trees like ``params``.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([1.0, 5.0, 3.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> pairs = curvature.eigenpairs(hessian, jnp.ones(3), k=2, key=jax.random.key(0))
        >>> [round(value, 3) for value in pairs.values.tolist()], pairs.converged.tolist()
        ([5.0, 3.0], [True, True])

    References:
        Lanczos (1950), An iteration method for the solution of the eigenvalue problem, J. Res. NBS 45.
        Parlett (1998), The symmetric eigenvalue problem, chapter 13 (the residual) and section 6.9 (twice is enough).
    """
    _check.choice(which, "which", WHICH)
    apply, floats = times(product, params, data), over_floats(params)
    first = _first(params, key, start)
    k, steps = _steps(k, num_products, _stacks.size(floats.active))
    constant, moving, inputs = held(apply, first)
    space = lanczos(constant, first, steps)
    ritz, weights = jnp.linalg.eigh(tridiagonal(space))
    score = {"largest": -ritz, "smallest": ritz, "magnitude": -jnp.abs(ritz)}[which]
    chosen = jnp.argsort(score)[:k]
    values, weights = ritz[chosen], weights[:, chosen]
    vectors = _stacks.combine(weights.T, space.basis)
    residuals = jnp.abs(space.beside[-1] * weights[-1])
    rounding = 10 * float(jnp.finfo(ritz.dtype).eps) * jnp.max(jnp.abs(ritz))
    limit = jnp.maximum(jnp.asarray(tolerance, ritz.dtype) * jnp.abs(values), rounding)
    moved = with_slopes(values, vectors, vectors, moving, inputs)
    shown = floats.embed(_stacks.with_dtypes(vectors, floats.active), _stacks.still(k))
    return Eigenpairs(moved, shown, residuals, residuals <= limit)


def _first(params: T, key: Key | None, start: T | None) -> Tree:
    """Return the first direction, the part of it that `over_floats` picks."""
    floats = over_floats(params)
    if (key is None) == (start is None):
        message = "give start=, the first direction, or key=, to draw it: one of the two"
        raise ValueError(message)
    if key is None:
        _check.mirrors(params=params, start=start)
        return lax.stop_gradient(jax.tree.map(_sharding.like, _tree.widened(floats.pick(start)), floats.active))
    _check.key(key, "key")
    return lax.stop_gradient(_stacks.normal(key, _tree.widened(floats.active)))


def _steps(k: int, num_products: int | None, size: int) -> tuple[int, int]:
    """Return how many pairs and how many products."""
    advice = f"There are {size} parameters, and as many eigenvalues"
    k = _check.count(k, "k", least=1, most=size, advice=advice)
    if num_products is None:
        return k, min(max(4 * k, 40), size)
    advice = "A space of fewer dimensions than k holds no k pairs"
    return k, min(_check.count(num_products, "num_products", least=k, advice=advice), size)

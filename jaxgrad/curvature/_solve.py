"""A damped linear system with a matrix that is known by its products."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, T, Tree
from jaxgrad.curvature._engine import _iterations, _stacks
from jaxgrad.curvature._engine._implicit import moving_solution, relative_residual
from jaxgrad.curvature._engine._preconditioners import Preconditioner, preconditioning
from jaxgrad.curvature._engine._symmetric import ProductFn, Times, held, over_floats, times
from jaxgrad.curvature._operator import refuse_as_inverse

__all__ = ["Solution", "solve"]

METHODS = ("cg", "neumann")


class Solution(NamedTuple, Generic[T]):
    """A solution, and how good it is."""

    solution: T
    """The tree ``x``, with the structure, shapes and dtypes of ``params``."""
    residual_norm: Array
    """``|b - (A + damping) x| / |b|``, by one more product with the ``x`` that is returned."""
    products: Array
    """How many products were made in all."""
    converged: Array
    """Whether the residual is below the tolerance."""
    indefinite: Array
    """Whether a direction was met without positive curvature, beyond the rounding of the largest: A + damping is not
    positive definite."""


@jit(
    "product",
    "method",
    "max_products",
    non_negative=("damping", "tolerance"),
    static_functions=("preconditioner",),
)
def solve(
    product: ProductFn,
    params: T,
    rhs: T,
    *data: Any,
    damping: ArrayLike,
    method: Literal["cg", "neumann"] = "cg",
    preconditioner: Preconditioner = None,
    tolerance: ArrayLike = 1e-5,
    max_products: int = 100,
    start: T | None = None,
) -> Solution[T]:
    r"""Solve a damped symmetric system by products with its matrix: an inverse-Hessian-vector product.

    .. math:: (A + \delta I)\, x = b

    ``"cg"``: conjugate gradients, for a positive definite matrix; they end at a direction without positive curvature,
    which is told. ``"neumann"``: the series :math:`x \leftarrow x + (b - (A + \delta I) x) / \lambda_{\max}`, the
    eigenvalue estimated by a few products of them.

    Differentiable once and more, in both directions, with respect to ``rhs``, ``params``, ``data``, ``damping`` and
    what ``product`` closes over, by the implicit function theorem: a derivative is one more solve with the same
    options, and nothing is unrolled. It is as accurate as ``tolerance``.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        rhs: The right-hand side b, with the structure, shapes and dtypes of ``params``.
        *data: Pytrees handed on to ``product``.
        damping: The number that is added to the diagonal, not negative.
        method: ``"cg"`` or ``"neumann"``.
        preconditioner: A symmetric, positive definite guess at the inverse of ``A + damping``: a function of a tree,
            an object with ``inverse_product(vector, damping)``, or a tree like ``params``, the diagonal of A, which
            may be estimated; ``None``: none.
        tolerance: The residual to reach, relative to ``rhs``. A solution of 16 bits has one of its rounding, 1e-3 or
            (bfloat16) 1e-2: ask for no less there.
        max_products: How many iterations at most, one product each.
        start: The first guess at x, a tree like ``params``; ``None``: zero.

    Returns:
        `Solution`: ``solution``, ``residual_norm``, ``products``, ``converged`` and ``indefinite``. A solution that
        has not converged is the last iterate; look at ``converged`` before it is used. Where ``rhs`` is infinite or NaN
        it is NaN.

    Raises:
        ValueError: If ``rhs``, ``start`` or what ``product`` or ``preconditioner`` returns does not mirror
            ``params``, ``damping`` or ``tolerance`` is negative, or ``max_products`` is below 1.
        TypeError: If no leaf of ``params`` is a real floating-point array, or ``max_products`` no Python integer.

    Cost:
        One product an iteration, one for the residual, and one for ``start``; five trees like ``params``.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([1.0, 3.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> found = curvature.solve(hessian, jnp.ones(2), jnp.array([4.0, 8.0]), damping=1.0)
        >>> jnp.round(found.solution, 3).tolist(), found.converged.item(), found.products.item()
        ([2.0, 2.0], True, 3)

    References:
        Hestenes and Stiefel (1952), Methods of conjugate gradients, J. Res. NBS 49.
        Steihaug (1983), The conjugate gradient method and trust regions, SIAM J. Numer. Anal. 20.
        Agarwal, Bullins and Hazan (2017), Second-order stochastic optimization in linear time (the series), JMLR 18.
    """
    _check.choice(method, "method", METHODS)
    _check.number(damping, "damping")
    most = _check.count(max_products, "max_products", least=1)
    undamped, floats = times(product, params, data), over_floats(params)
    _check.mirrors(params=params, rhs=rhs)
    rhs, first = _start(params, rhs, start)
    refuse_as_inverse(preconditioner, "preconditioner")
    precondition = preconditioning(preconditioner, params, damping)

    def apply(vector: Tree) -> Tree:
        return _stacks.axpy(damping, vector, undamped(vector))

    def iterate(apply: Times, rhs: Tree, size: Array) -> tuple[Tree, _iterations.Course]:
        limit = jnp.asarray(tolerance, size.dtype) * size
        if method == "neumann":
            return _iterations.neumann(apply, rhs, precondition, limit, most)
        return _iterations.conjugate_gradients(apply, rhs, precondition or (lambda tree: tree), limit, most)

    def solver(apply: Times, rhs: Tree) -> Tree:
        return iterate(apply, rhs, _tree.norm(rhs))[0]

    constant, moving, inputs = held(apply, rhs)
    fixed = lax.stop_gradient(rhs)
    left = fixed if first is None else jax.tree.map(jnp.subtract, fixed, constant(first))
    way, course = lax.stop_gradient(iterate(constant, left, _tree.norm(fixed)))
    x = way if first is None else _tree.add(first, way)
    residual = jax.tree.map(jnp.subtract, fixed, constant(x))
    moved = moving_solution(x, rhs, moving, inputs, solver)
    relative = relative_residual(residual, fixed)
    products = course.products + (1 if first is None else 2)
    converged = relative <= jnp.asarray(tolerance, relative.dtype)
    # where the residual says that the system is solved, what was met in its rounding does not count
    indefinite = course.indefinite & ~converged
    whole = floats.embed(_stacks.with_dtypes(moved, floats.active))
    return Solution(whole, relative, products, converged, indefinite)


def _start(params: T, rhs: T, start: T | None) -> tuple[Tree, Tree | None]:
    """Return the parts of the right-hand side and the first guess that count, laid out as the parameters."""
    floats = over_floats(params)

    def laid_out(tree: T) -> Tree:
        return jax.tree.map(_sharding.like, _tree.widened(floats.pick(tree)), floats.active)

    if start is None:
        return laid_out(rhs), None
    _check.mirrors(params=params, start=start)
    return laid_out(rhs), lax.stop_gradient(laid_out(start))

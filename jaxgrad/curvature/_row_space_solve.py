"""A damped system with the empirical Fisher of few examples, solved among the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, T, Tree, Ts
from jaxgrad._uses._batch import Problem, problem_of, sum_with_weights
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._gradient_factors import gradient_factors
from jaxgrad._uses._inner_products import sum_of_products
from jaxgrad._uses._slopes import from_slopes
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._implicit import moving_solution, relative_residual
from jaxgrad.curvature._engine._symmetric import Times, held

__all__ = ["RowSpaceSolution", "row_space_solve"]


class RowSpaceSolution(NamedTuple, Generic[T]):
    """A solution, and how good it is."""

    solution: T
    """The tree ``x``, with the structure, shapes and dtypes of ``params``."""
    residual_norm: Array
    """``|b - (F + damping) x| / |b|``, by a product with the ``x`` that is returned."""
    converged: Array
    """Whether the residual is below the tolerance; with a damping near the rounding of the largest eigenvalue not."""
    smallest: Array
    """The smallest eigenvalue of F in the space of the gradients; below zero by rounding alone."""
    largest: Array
    """The largest eigenvalue of F."""


@jit("loss_fn", "refinements", non_negative=("damping", "tolerance"))
@laid_out(lambda at: RowSpaceSolution(at.weights, at.single, at.single, at.single, at.single))
def row_space_solve(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    rhs: T,
    *batch: *Ts,
    damping: ArrayLike,
    refinements: int = 1,
    tolerance: ArrayLike = 1e-5,
) -> RowSpaceSolution[T]:
    r"""Solve a damped system with the empirical Fisher exactly, by a matrix of examples by examples.

    .. math:: (F + \delta I)\, x = b, \qquad F = \tfrac1N G^\top G, \qquad
              x = \tfrac1\delta \left( b - G^\top (G G^\top + N \delta I)^{-1} G\, b \right)

    The rows of G are the gradients of the examples. It is not formed where the losses' structure allows: its Gram
    matrix comes of factors, ``G b`` is a derivative along b, and the last step one weighted gradient. For the natural
    gradient and influence functions where examples are fewer than parameters; `solve` with a product else.

    Differentiable as `solve` is, by the implicit function theorem.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        rhs: The right-hand side b, with the structure, shapes and dtypes of ``params``.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``N``.
        damping: The number that is added to the diagonal, positive: with zero F has no inverse, and nothing is finite
            nor has it converged.
        refinements: How often the residual is solved for and added, which gives back the digits that the difference
            above loses for a small damping.
        tolerance: The relative residual below which a solution has converged.

    Returns:
        `RowSpaceSolution`: ``solution``, ``residual_norm``, ``converged``, ``smallest`` and ``largest``.

    Raises:
        ValueError: If ``rhs`` does not mirror ``params``, ``damping`` or ``refinements`` is negative, the leading
            axes differ or are empty, or the loss is no scalar.
        TypeError: If a leaf of ``params`` is no real floating-point array, or ``loss_fn`` returns a pair.

    Cost:
        The Gram matrix of `per_example.gram`, an eigendecomposition of ``N x N``, and 10/3 gradients of the batch for
        every solve and residual: about ten gradients with one refinement.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w, x):
        ...     return w @ x
        >>> points = jnp.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> found = curvature.row_space_solve(loss, jnp.ones(3), jnp.array([3.0, 6.0, 1.0]), points, damping=1.0)
        >>> [round(x, 4) for x in found.solution.tolist()], found.converged.item(), round(found.largest.item(), 4)
        ([1.0, 2.0, 1.0], True, 2.0)

    References:
        Ren and Goldfarb (2019), Efficient subsampled Gauss-Newton and natural gradient methods, arXiv:1906.02353.
        Chen and Heyl (2024), Empowering deep neural quantum states (minSR), Nature Physics 20.
    """
    refinements = _check.count(refinements, "refinements")
    _check.number(damping, "damping")
    problem = problem_of(loss_fn, params, batch, None)
    _check.mirrors(params=params, rhs=rhs)
    given, leaves = _sharding.alike(jax.tree.leaves(rhs), problem.leaves)
    problem, given = problem._replace(leaves=leaves), _tree.widened(given)
    size = _check.batch(batch)

    def apply(vector: Tree) -> Tree:
        weights = _along(problem, batch, vector)
        total, _ = sum_with_weights(problem, batch, weights / size)
        return _stacks.axpy(damping, vector, _tree.widened(total))

    constant, moving, inputs = held(apply, given)
    inverse, smallest, largest = _inverse(problem, batch, damping)

    def solver(_: Times, rhs: Tree) -> Tree:
        x = inverse(rhs)
        for _turn in range(refinements):
            x = _tree.add(x, inverse(jax.tree.map(jnp.subtract, rhs, constant(x))))
        return x

    fixed = lax.stop_gradient(given)
    x = lax.stop_gradient(solver(constant, fixed))
    residual = relative_residual(jax.tree.map(jnp.subtract, fixed, constant(x)), fixed)
    solution = problem.rebuild(moving_solution(x, given, moving, inputs, solver))
    converged = residual <= jnp.asarray(tolerance, residual.dtype)
    return RowSpaceSolution(solution, residual, converged, smallest, largest)


def _along(problem: Problem, batch: tuple[Any, ...], vector: Tree) -> Array:
    """Return the derivative of every example's loss along a vector."""
    narrow = _stacks.with_dtypes(vector, problem.leaves)
    return from_slopes(problem, batch, lambda slopes: slopes(narrow))[0]


def _inverse(problem: Problem, batch: tuple[Any, ...], damping: Any) -> tuple[Callable[[Tree], Tree], Array, Array]:
    """Return the inverse as a function, up to rounding, and the outer eigenvalues among the examples.

    By eigenvectors: they exist where rounding leaves a Gram matrix that has no Cholesky factor.
    """
    problem = problem._replace(leaves=[lax.stop_gradient(leaf) for leaf in problem.leaves])
    batch, damping = lax.stop_gradient((batch, jnp.asarray(damping)))
    factors = gradient_factors(problem.plan, problem.leaves, batch)
    gram = lax.stop_gradient(sum_of_products(problem.plan.leaves, factors, factors))
    values, vectors = jnp.linalg.eigh(gram)
    count, added = values.size, damping.astype(values.dtype)
    shrunk = 1 / (jnp.maximum(values, 0) + count * added)

    def inverse(rhs: Tree) -> Tree:
        along = _along(problem, batch, rhs).astype(values.dtype)
        weights = vectors @ (shrunk * (vectors.T @ along))
        total, _ = sum_with_weights(problem, batch, weights)
        return _stacks.scaled(_stacks.axpy(-1.0, _tree.widened(total), rhs), 1 / added)

    return inverse, values[0] / count, values[-1] / count

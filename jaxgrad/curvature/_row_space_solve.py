"""A damped system with the empirical Fisher of few examples, solved among the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad._uses._batch import Problem, problem_of, sum_with_weights
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._gradient_factors import GradientFactors, gradient_factors
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


@overload
def row_space_solve(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    rhs: T,
    *batch: *Ts,
    damping: ArrayLike,
    refinements: int = 1,
    tolerance: ArrayLike = 1e-5,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> RowSpaceSolution[T]: ...
@overload
def row_space_solve(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    rhs: T,
    *batch: *Ts,
    damping: ArrayLike,
    refinements: int = 1,
    tolerance: ArrayLike = 1e-5,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[RowSpaceSolution[T], Aux]: ...
@jit("loss_fn", "refinements", "has_aux", "wrt", "axis_name", non_negative=("damping", "tolerance"))
@laid_out(lambda at: RowSpaceSolution(at.weights, at.single, at.single, at.single, at.single))
def row_space_solve(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    rhs: T,
    *batch: *Ts,
    damping: ArrayLike,
    refinements: int = 1,
    tolerance: ArrayLike = 1e-5,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Solve a damped system with the empirical Fisher exactly, by a matrix of examples by examples.

    .. math:: (F + \delta I)\, x = b, \qquad F = \tfrac1N G^\top G, \qquad
              x = \tfrac1\delta \left( b - G^\top (G G^\top + N \delta I)^{-1} G\, b \right)

    The rows of G are the gradients of the examples. It is not formed where the losses' structure allows: its Gram
    matrix comes of factors, ``G b`` is a derivative along b, and the last step one weighted gradient. For the natural
    gradient and influence functions where examples are fewer than parameters; `solve` with a product else.

    Differentiable as `solve` is, by the implicit function theorem; with ``axis_name`` it has no derivative.

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
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all. The
            system is that of these; on the others ``rhs`` is not read, and the solution is zero.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread: the rows
            of G are those of all devices, and the solution is the same on all of them; ``None``: the device's own.

    Returns:
        `RowSpaceSolution`: ``solution``, ``residual_norm``, ``converged``, ``smallest`` and ``largest``. With
        ``has_aux`` the pair of this and ``aux``, stacked along a leading axis, from the same forward; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``rhs`` does not mirror ``params``, ``damping`` or ``refinements`` is negative, the leading axes
            differ or are empty, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.
        NotImplementedError: If it is differentiated with ``axis_name``.

    Cost:
        The Gram matrix of `per_example.gram`, about one gradient of the batch; an eigendecomposition of ``N x N``; and
        about 8/3 gradients (FLOPs) for every solve and its residual: 6.3 in all with one refinement.

        Over devices each has its own rows of the Gram matrix, for which the factors of all gradients, in size the
        activations of the whole batch and their cotangents, are sent to every device, once; the N x N matrix and its
        eigendecomposition are on all of them.

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
    problem = problem_of(loss_fn, params, batch, wrt, axis_name=axis_name, has_aux=has_aux)
    _check.mirrors(params=params, rhs=rhs)
    given, leaves = _start(problem, _sharding.replicated(rhs, axis_name), axis_name)
    rows = _Rows(problem._replace(leaves=leaves), batch, axis_name)

    def apply(vector: Tree) -> Tree:
        return _stacks.axpy(damping, vector, rows.total(rows.along(vector) / rows.number))

    constant, moving, inputs = held(apply, given)
    factors = gradient_factors(problem.plan, leaves, batch)
    inverse, smallest, largest = _inverse(rows, factors, damping)

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
    result = RowSpaceSolution(solution, residual, converged, smallest, largest)
    return (result, factors.aux) if has_aux else result


def _start(problem: Problem, rhs: Tree, axis_name: AxisName) -> tuple[Tree, list[Array]]:
    """Return the right-hand side on the leaves that count, and these, so that they vary alike over devices.

    With ``axis_name`` all devices have one right-hand side, and the leaves differ as the losses do.
    """
    chosen = problem.pick(rhs)
    if axis_name is not None:
        return _tree.widened(chosen), problem.leaves
    given, leaves = _sharding.alike(chosen, problem.leaves)
    return _tree.widened(given), leaves


class _Rows(NamedTuple):
    """The gradients of the examples of all devices along ``axis_name``, as the rows of a matrix that is not formed."""

    problem: Problem
    batch: tuple[Any, ...]
    axis_name: AxisName

    @property
    def number(self) -> int:
        """How many there are on all devices."""
        return _check.batch(self.batch) * _sharding.device_count(self.axis_name)

    def along(self, vector: Tree) -> Array:
        """Return the derivatives of the device's own losses along a vector."""
        narrow = _stacks.with_dtypes(vector, self.problem.leaves)
        narrow = list(map(_sharding.like, narrow, self.problem.leaves))
        return from_slopes(self.problem, self.batch, lambda slopes: slopes(narrow))[0]

    def total(self, weights: Array) -> Tree:
        """Return the sum over all devices of the gradients, by a weight for each of the device's own."""
        total, _ = sum_with_weights(self.problem, self.batch, weights)
        return _sharding.sum_over(_tree.widened(total), self.axis_name)

    def gram(self, factors: GradientFactors) -> Array:
        """Return the inner products of all pairs; each device makes its own rows."""
        plans, axis_name = self.problem.plan.leaves, self.axis_name
        others = jax.tree.map(lambda leaf: _sharding.rows_of_all(leaf, axis_name), factors._replace(aux=None))
        own = sum_of_products(plans, factors, others)
        return _sharding.replicated(_sharding.rows_of_all(own, axis_name), axis_name)


def _inverse(rows: _Rows, factors: GradientFactors, damping: Any) -> tuple[Callable[[Tree], Tree], Array, Array]:
    """Return the inverse as a function, up to rounding, and the outer eigenvalues among the examples.

    By eigenvectors: they exist where rounding leaves a Gram matrix that has no Cholesky factor.
    """
    problem = rows.problem
    problem = problem._replace(leaves=[lax.stop_gradient(leaf) for leaf in problem.leaves])
    batch, damping = lax.stop_gradient((rows.batch, jnp.asarray(damping)))
    fixed = rows._replace(problem=problem, batch=batch)
    values, vectors = jnp.linalg.eigh(lax.stop_gradient(rows.gram(factors)))
    added = damping.astype(values.dtype)
    shrunk = 1 / (jnp.maximum(values, 0) + rows.number * added)

    def inverse(rhs: Tree) -> Tree:
        own = fixed.along(rhs).astype(values.dtype)
        weights = vectors @ (shrunk * (vectors.T @ _sharding.rows_of_all(own, rows.axis_name)))
        total = fixed.total(_sharding.own_rows(weights, own.size, rows.axis_name))
        return _stacks.scaled(_stacks.axpy(-1.0, total, rhs), 1 / added)

    return inverse, values[0] / rows.number, values[-1] / rows.number

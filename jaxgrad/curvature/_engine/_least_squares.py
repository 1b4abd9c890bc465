"""One step of damped least squares: residuals whose Jacobian is known by products, or by its rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax.flatten_util import ravel_pytree

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, AxisName, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._iterations import conjugate_gradients
from jaxgrad.curvature._engine._linear import Linear

__all__ = ["Equations", "damped_step"]

DENSE = 2048
"""Up to how many rows or columns, whichever are fewer, the Jacobian is formed: its factorisation takes about a second
of one core at this size."""


class Equations(NamedTuple):
    """Residuals at a point, and their Jacobian: those of all devices along ``axis_name``, of which each has its own."""

    linear: Linear
    """The device's own residuals, a vector, with their Jacobian."""
    rows: Callable[[], Tree] | None
    """Forms the rows of that, where there is a cheaper way than by products."""
    axis_name: AxisName

    @property
    def number(self) -> int:
        """How many residuals all devices have."""
        return self.linear.outputs.size * _sharding.device_count(self.axis_name)

    def push(self, vector: Tree) -> Array:
        """Return ``J v``, the device's own."""
        return self.linear.push(_sharding.vary(vector, frozenset(_sharding.names(self.axis_name))))

    def pull(self, cotangent: Array) -> Tree:
        """Return ``J^T u``, the sum over all devices."""
        return _sharding.sum_over(self.linear.pull(cotangent), self.axis_name)

    def inner(self, u: Array, v: Array) -> Array:
        """Return the inner product of two vectors like the residuals."""
        return _sharding.sum_over(jnp.sum(u * v), self.axis_name)


def damped_step(
    equations: Equations, slope: Tree, damping: Array, solver: str, tolerance: Any, max_products: int
) -> Tree:
    """Return ``-(J^T J + damping)^-1 slope``, where ``slope`` is ``J^T r``; not finite where the system is singular."""
    few = min(_stacks.size(slope), equations.number) <= DENSE
    if solver == "dense" or (solver == "auto" and few):
        return _sharding.replicated(_dense(equations, slope, damping), equations.axis_name)

    def apply(vector: Tree) -> Tree:
        return _stacks.axpy(damping, vector, equations.pull(equations.push(vector)))

    downhill = jax.tree.map(jnp.negative, slope)
    size = _tree.norm(slope)
    limit = jnp.asarray(tolerance, size.dtype) * size
    return conjugate_gradients(apply, downhill, lambda tree: tree, limit, max_products)[0]


def _dense(equations: Equations, slope: Tree, damping: Array) -> Tree:
    """Solve by the QR factorisation of the Jacobian, or its transpose, with the root of the damping below."""
    flat, unravel = ravel_pytree(slope)
    jacobian = _jacobian(equations, flat, unravel)
    jacobian, here = _joined(jacobian, equations.linear.outputs.astype(flat.dtype), equations.axis_name)
    if here.size < flat.size:
        # J^T = Q R: the step -J^T (J J^T + damping)^-1 r is -Q R^-T r
        upper, lower = _factors(jacobian.T, damping)
        return unravel(-upper @ jax.scipy.linalg.solve_triangular(lower, here, trans=1))
    upper, lower = _factors(jacobian, damping)
    return unravel(-jax.scipy.linalg.solve_triangular(lower, upper.T @ here))


def _jacobian(equations: Equations, flat: Array, unravel: Callable[[Array], Tree]) -> Array:
    """Form the device's own rows, by whichever are fewer, products with unit vectors from the left or the right."""
    here = equations.linear.outputs
    if equations.rows is not None:
        parts = [leaf.reshape(here.size, -1).astype(flat.dtype) for leaf in jax.tree.leaves(equations.rows())]
        return jnp.concatenate(parts, axis=1)
    if here.size < flat.size:
        units = _sharding.vary(jnp.eye(here.size, dtype=here.dtype), _sharding.varying(here))
        rows = jax.vmap(lambda u: ravel_pytree(equations.linear.pull(u))[0])(units)
    else:
        rows = jax.vmap(lambda v: equations.push(unravel(v)))(jnp.eye(flat.size, dtype=flat.dtype)).T
    return rows.astype(flat.dtype)


def _joined(jacobian: Array, here: Array, axis_name: AxisName) -> tuple[Array, Array]:
    """Join the rows of all devices, and the residuals.

    A device with more rows than there are parameters sends as many as these, the triangle of its own QR factorisation:
    ``J^T J`` and ``J^T r`` are the same, and no condition number is squared.
    """
    if axis_name is not None and jacobian.shape[0] > jacobian.shape[1]:
        q, jacobian = jnp.linalg.qr(jacobian)
        here = q.T @ here
    return _sharding.rows_of_all(jacobian, axis_name), _sharding.rows_of_all(here, axis_name)


def _factors(columns: Array, damping: Array) -> tuple[Array, Array]:
    """Factorise a matrix with a multiple of the identity below, and return the upper part of Q, and R."""
    below = jnp.sqrt(damping).astype(columns.dtype) * jnp.eye(columns.shape[1], dtype=columns.dtype)
    q, r = jnp.linalg.qr(jnp.concatenate([columns, below]))
    return q[: len(columns)], r

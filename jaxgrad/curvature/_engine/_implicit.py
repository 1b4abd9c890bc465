"""The derivative of a solution by the implicit function theorem, and the residual that says how good it is."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.curvature._engine._symmetric import Times

__all__ = ["moving_solution", "relative_residual"]


def moving_solution(x: Tree, rhs: Tree, moving: Any, inputs: list[Any], solver: Any) -> Tree:
    """Return a solution that moves as the exact one does: ``A dx = db - (dA) x``, one more solve."""

    @jax.custom_jvp
    def attached(x: Tree, _rhs: Tree, *_inputs: Any) -> Tree:
        return x

    @attached.defjvp
    def slopes(primals: Any, tangents: Any) -> tuple[Tree, Tree]:
        x, rhs, *inputs = primals
        # of the same kind again, so that it has derivatives of any order
        x = attached(x, rhs, *inputs)
        _, moved = jax.jvp(lambda *inputs: moving(x, *inputs), tuple(inputs), tuple(tangents[2:]))
        left = _tied(jax.tree.map(jnp.subtract, tangents[1], moved))
        return x, _solved(lambda v: moving(v, *inputs), left, solver, x)

    return attached(x, rhs, *inputs)


def _solved(times: Times, left: Tree, solver: Any, like: Tree) -> Tree:
    """Solve, transposably.

    Raises:
        NotImplementedError: In `jax.shard_map`, if the products add up over devices. JAX takes the solution to differ
            from device to device then, and its transposed rule does not type (0.10 and 0.12).
    """

    def solved(left: Tree) -> Tree:
        return lax.custom_linear_solve(times, left, solver, symmetric=True)

    if _sharding.in_shard_map() and _sharding.varying(jax.eval_shape(solved, left)) - _sharding.varying(like):
        message = (
            "a solve whose products add up over the devices of a jax.shard_map has no derivative there; differentiate"
            " the same call without axis_name under jax.jit, on arrays that are laid out over the devices"
        )
        raise NotImplementedError(message)
    return solved(left)


def _tied(tree: Tree) -> Tree:
    """Let every leaf depend on all, without a change: JAX transposes a solve for all of its right-hand side or none."""
    nothing = 0 * jnp.sum(jnp.stack([jnp.sum(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(tree)]))
    return jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), tree)


def relative_residual(residual: Tree, rhs: Tree) -> Array:
    """Return the length of the residual in that of the right-hand side; of a right-hand side of zeros its own."""
    whole = _tree.norm(rhs)
    return _tree.norm(residual) / jnp.where(whole > 0, whole, jnp.ones_like(whole))

"""The derivative of a solution by the implicit function theorem, and the residual that says how good it is."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _tree
from jaxgrad._types import Array, Tree

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
        return x, lax.custom_linear_solve(lambda v: moving(v, *inputs), left, solver, symmetric=True)

    return attached(x, rhs, *inputs)


def _tied(tree: Tree) -> Tree:
    """Let every leaf depend on all, without a change: JAX transposes a solve for all of its right-hand side or none."""
    nothing = 0 * jnp.sum(jnp.stack([jnp.sum(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(tree)]))
    return jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), tree)


def relative_residual(residual: Tree, rhs: Tree) -> Array:
    """Return the length of the residual in that of the right-hand side; of a right-hand side of zeros its own."""
    whole = _tree.norm(rhs)
    return _tree.norm(residual) / jnp.where(whole > 0, whole, jnp.ones_like(whole))

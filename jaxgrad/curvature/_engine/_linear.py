"""A function's derivative as a linear map, forward and transposed, around one evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr
from jaxgrad._types import Tree

__all__ = ["Linear", "linear_map"]


class Linear(NamedTuple):
    """The Jacobian of a function at a point."""

    outputs: Tree
    push: Callable[[Tree], Tree]
    """``J v``: like the outputs."""
    pull: Callable[[Tree], Tree]
    """``J^T u``: like the point."""
    aux: Any


def linear_map(pair: Callable[[Tree], tuple[Tree, Any]], point: Tree) -> Linear:
    """Evaluate a function with an aux once, and return its Jacobian.

    A function that has but a reverse rule, a `jax.custom_vjp`, is pulled back, and pushed forward by transposing that.
    """

    def with_arrays(x: Tree) -> tuple[Tree, Any]:
        value, aux = pair(x)
        return jax.tree.map(jnp.asarray, value), aux

    program = jax.make_jaxpr(with_arrays)(point)
    if _jaxpr.contains(program.jaxpr, _jaxpr.has_backward_rule):
        outputs, pullback, aux = jax.vjp(with_arrays, point, has_aux=True)

        def pull(cotangent: Tree) -> Tree:
            return pullback(cotangent)[0]

        transposed = jax.linear_transpose(pull, outputs)
        return Linear(outputs, lambda vector: transposed(vector)[0], pull, aux)
    outputs, push, aux = jax.linearize(with_arrays, point, has_aux=True)
    back = jax.linear_transpose(push, point)
    return Linear(outputs, push, lambda cotangent: back(cotangent)[0], aux)

"""The inner problem of implicit MAML: the loss of a task, held to the common parameters."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params, Tree
from jaxgrad.meta._engine._statistics import check_statistics

__all__ = ["check_fixed_statistics", "check_start", "proximal", "undefined_without"]


def proximal(value: Array, active: Params, centre: Params, strength: ArrayLike) -> Array:
    """Add half the strength times the squared distance from the centre."""
    apart = jax.tree.map(jnp.subtract, active, centre)
    return value + (0.5 * strength * _tree.dot(apart, apart)).astype(value.dtype)


def undefined_without(strength: Any, slope: Tree) -> Tree:
    """Return a gradient, or NaN where an array says that there is no proximal term: it would be zero, and look so."""
    return jax.tree.map(lambda leaf: jnp.where(strength > 0, leaf, jnp.full_like(leaf, jnp.nan)), slope)


def check_start(start: Params | None, params: Params, num_tasks: int) -> None:
    """Refuse another start than one tree like the parameters for every task.

    Raises:
        ValueError: With every leaf that is of another shape or dtype.
    """
    if start is None:
        return
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_tasks, *jnp.shape(leaf)), jnp.result_type(leaf)), params)
    _check.mirrors(**{"params with an axis of tasks in front": rows, "start": start})


def check_fixed_statistics(statistics: Any, state: Tree) -> None:
    """Refuse what `check_statistics` does, and a state that the steps change.

    Raises:
        ValueError: If it is one of these.
    """
    check_statistics(statistics, state)
    if statistics == "carried":
        message = (
            'statistics="carried" changes the inner problem at every step, which then has no minimum to differentiate;'
            ' write "frozen" or "transductive", or take meta.maml_gradient'
        )
        raise ValueError(message)

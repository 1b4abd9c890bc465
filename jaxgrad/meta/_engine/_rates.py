"""Learned learning rates: factors of the optimizer's updates, one for all, for a leaf, an entry, or a step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check
from jaxgrad._types import Params, Tree

__all__ = ["Rates"]


class Rates:
    """What the updates of a step are multiplied by: the same at every step, or a row for each."""

    def __init__(self, rates: Tree, params: Params, pick: Callable[[Tree], Tree], num_steps: int):
        """Sort the leaves, ``pick`` being the choice of those that move.

        Raises:
            ValueError: If a leaf does not broadcast against ``(num_steps, *leaf.shape)``, or the tree is another one.
        """
        self.given = rates is not None
        if not self.given:
            self.fixed, self.rows = None, None
            return
        _check_rates(rates, params, num_steps)
        leaves = zip(jax.tree.leaves(pick(rates)), jax.tree.leaves(pick(params)), strict=True)
        self.structure: Any = jax.tree.structure(pick(params))
        kinds = [(jnp.asarray(rate), jnp.ndim(leaf)) for rate, leaf in leaves]
        self.rows = [rate if _has_steps(rate, axes, num_steps) else None for rate, axes in kinds]
        self.fixed = [rate[0] if rate.ndim > axes else rate for rate, axes in kinds]

    def times(self, updates: Params, rows: Any) -> Params:
        """Multiply the updates of a step, of which ``rows`` holds the factors that are its own."""
        if self.fixed is None:
            return updates
        factors = [fixed if row is None else row for fixed, row in zip(self.fixed, rows, strict=True)]
        return jax.tree.map(
            lambda u, f: u * jnp.broadcast_to(f.astype(u.dtype), u.shape), updates, self.structure.unflatten(factors)
        )


def _has_steps(rate: Any, axes: int, num_steps: int) -> bool:
    """Say whether a factor differs from step to step: it has one axis more than its leaf, and it is not of length 1."""
    return rate.ndim > axes and rate.shape[0] == num_steps


def _check_rates(rates: Tree, params: Params, num_steps: int) -> None:
    """Refuse factors that do not fit.

    Raises:
        ValueError: If the tree is another one, or with every leaf that does not broadcast.
        TypeError: If a leaf is no real floating-point array.
    """
    _check.floating(learning_rates=rates)
    wanted = dict(jtu.tree_leaves_with_path(params))
    found = dict(jtu.tree_leaves_with_path(rates))
    lines = [f"{_check.locate('learning_rates', path)}: missing" for path in wanted if path not in found]
    lines += [f"{_check.locate('learning_rates', path)}: not expected" for path in found if path not in wanted]
    for path in [path for path in wanted if path in found]:
        shape = (num_steps, *jnp.shape(wanted[path]))
        try:
            fits = jnp.broadcast_shapes(jnp.shape(found[path]), shape) == shape
        except ValueError:
            fits = False
        if not fits:
            got = _check.describe(found[path])
            lines.append(f"{_check.locate('learning_rates', path)}: got {got}, which does not broadcast to {shape}")
    if lines:
        headline = "learning_rates must have the structure of params, and broadcast against (num_steps, *leaf.shape):"
        message = "\n  ".join([headline, *lines])
        raise ValueError(message)

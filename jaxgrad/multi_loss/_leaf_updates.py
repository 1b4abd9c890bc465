"""Optimizer steps on the leaves that a loss touches, each with a state of its own."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params, Tree, Wrt
from jaxgrad.multi_loss._heads import Touches, entries
from jaxgrad.multi_loss._linearize import Linearized

__all__ = ["LeafUpdates", "Touches", "start_updates"]


@dataclass(frozen=True)
class LeafUpdates:
    """Parameters on their way through several steps."""

    optimizer: Any
    params: Params
    states: Tree
    chosen: list[bool]
    """Which leaves count."""

    def take(self, gradient: list[Array], touched: list[bool]) -> "LeafUpdates":
        """Move the leaves that are touched; both lists run over the leaves that count."""
        structure: Any = jax.tree.structure(self.params)
        leaves, states = jax.tree.leaves(self.params), structure.flatten_up_to(self.states)
        places = [i for i, counts in enumerate(self.chosen) if counts]
        for i, slope, hit in zip(places, gradient, touched, strict=True):
            if hit:
                leaves[i], states[i] = self._move(slope, states[i], leaves[i])
        return LeafUpdates(self.optimizer, structure.unflatten(leaves), structure.unflatten(states), self.chosen)

    def _move(self, slope: Array, state: Any, leaf: Array) -> tuple[Array, Any]:
        """Take one step with one leaf; optax is written for JAX's standard promotion of dtypes."""
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            update, new = self.optimizer.update(slope, state, leaf)
            return optax.apply_updates(leaf, update), jax.tree.map(_keep_dtype, new, state)

    def touched_by(self, k: int, here: Linearized, touches: Touches) -> list[bool]:
        """Say of every leaf that counts whether loss ``k`` moves it."""
        if touches is None:
            return here.touches(k)
        marks = _tree.selected(self.params, entries("touches", touches, here)[k], "touches")
        return [mark for mark, counts in zip(marks, self.chosen, strict=True) if counts]


def start_updates(optimizer: Any, params: Params, states: Tree, wrt: Wrt) -> LeafUpdates:
    """Return the start of several steps, after refusing states that do not belong to the parameters.

    Raises:
        ValueError: With every state that is missing, not expected, or of another shape or dtype.
        TypeError: If ``optimizer`` is no optax transformation.
    """
    wanted = jax.eval_shape(lambda tree: jax.tree.map(_check.optimizer(optimizer).init, tree), params)
    _check.mirrors(**{"multi_loss.init_states(optimizer, params)": wanted, "states": states})
    return LeafUpdates(optimizer, params, states, _tree.selected(params, wrt))


def _keep_dtype(new: Any, old: Any) -> Any:
    """Return a part of a state in the dtype that it had, so that it fits the next step."""
    return new if new.dtype == old.dtype else new.astype(old.dtype)

"""Steps up a loss, and the gradient where they lead: what SAM and its relatives share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _tree
from jaxgrad._types import Array, Tree
from jaxgrad.gradient import global_norm
from jaxgrad.shift import _wide

__all__ = ["Ascent", "climb", "gradient_at_worst", "sizes", "unit"]


class Ascent(NamedTuple):
    """How a worst point nearby is looked for."""

    radius: ArrayLike
    """The length of all steps together, in units of the metric."""
    num_steps: int
    """How many steps make it."""
    metric: Callable[[Tree], Tree]
    """``metric(active)``: the diagonal ``T``, a tree of factors for the leaves that move; ``None`` for ones."""
    exact: bool
    """Whether the derivative of the shift is part of the gradient."""


@jax.custom_jvp
def unit(tree: Tree) -> Tree:
    """Scale a tree to norm 1; a zero tree stays zero, with the derivative zero."""
    return _tree.scale(tree, _inverse(global_norm(tree)))


@unit.defjvp
def _unit_jvp(primals: tuple[Tree], tangents: tuple[Tree]) -> tuple[Tree, Tree]:
    """Return ``u = t / |t|`` and ``(dt - u (u . dt)) / |t|``: the square of a small norm is nowhere."""
    (tree,), (move,) = primals, tangents
    inverse = _inverse(global_norm(tree))
    direction = _tree.scale(tree, inverse)
    part = _tree.dot(direction, move)
    across = jax.tree.map(lambda d, u: d - (part * u.astype(part.dtype)).astype(d.dtype), move, direction)
    return direction, _tree.scale(across, inverse)


def _inverse(norm: Array) -> Array:
    """Return the inverse of a norm, 0 where it would overflow; NaN stays NaN."""
    nothing = norm < jnp.finfo(norm.dtype).tiny
    return jnp.where(nothing, jnp.zeros_like(norm), 1 / jnp.where(nothing, jnp.ones_like(norm), norm))


def sizes(offset: ArrayLike, scaled: list[bool], active: Tree) -> Tree:
    """Return ASAM's ``T``: the magnitudes of the weights plus an offset, and 1 for leaves that are not scaled."""

    def one(w: Array, by_size: bool) -> Array:
        return jnp.abs(w) + jnp.asarray(offset, w.dtype) if by_size else jnp.ones((), w.dtype)

    leaves, treedef = jax.tree.flatten(_tree.widened(active))
    structure: Any = treedef
    return structure.unflatten([one(w, by_size) for w, by_size in zip(leaves, scaled, strict=True)])


def climb(slope_at: Callable[[Tree], Tree], start: Tree, slope: Tree, metric: Tree, radius: Any, steps: int) -> Tree:
    """Return the shift that leads from ``start`` up a loss, steps of equal length one after the other.

    Args:
        slope_at: The gradient at a point.
        start: Where the steps begin, in float32 at the least.
        slope: The gradient there.
        metric: The diagonal ``T``, or ``None``: a step goes along ``T^2 g / |T g|``.
        radius: The length of all steps together.
        steps: How many, one at the least.
    """

    def up(slope: Tree) -> Tree:
        slope = _tree.widened(slope)
        if metric is None:
            return _tree.scale(unit(slope), radius / steps)
        direction = unit(jax.tree.map(jnp.multiply, metric, slope))
        return _tree.scale(jax.tree.map(jnp.multiply, metric, direction), radius / steps)

    def further(shift: Tree, _: None) -> tuple[Tree, None]:
        return _tree.add(shift, up(slope_at(_tree.add(start, shift)))), None

    shift = up(slope)
    return shift if steps == 1 else lax.scan(further, shift, None, length=steps - 1)[0]


def gradient_at_worst(subset: _tree.Subset, ascent: Ascent, data: tuple[Any, ...], state: str) -> tuple[Any, Tree]:
    """Return ``(loss, aux)`` and the gradient at the end of an ascent, on the leaves that move.

    The loss is that at the parameters themselves, the aux that of the pass which ``state`` names. Unless the ascent is
    exact its direction is a constant, and its length is not.
    """
    hold = (lambda tree: tree) if ascent.exact else lax.stop_gradient

    def slope_at(point: Tree) -> Tree:
        return hold(jax.grad(subset.fun)(point, *data))

    def shift_of(active: Tree) -> tuple[Tree, Any]:
        value, slope = jax.value_and_grad(subset.pair, has_aux=True)(active, *data)
        metric, start = hold(ascent.metric(active)), _tree.widened(active)
        return climb(slope_at, start, hold(slope), metric, ascent.radius, ascent.num_steps), value

    if ascent.exact:
        # the chain rule in one sweep back: (I + Da)^T v, where Da holds the Hessian
        shift, pull, (loss, aux) = jax.vjp(shift_of, subset.active, has_aux=True)
    else:
        shift, (loss, aux) = shift_of(subset.active)
    worst = _tree.add(_tree.widened(subset.active), shift)
    (_, aux_there), slope = jax.value_and_grad(subset.pair, has_aux=True)(worst, *data)
    if ascent.exact:
        slope = _tree.add(slope, _tree.widened(pull(slope)[0]))
    slope = _wide.cast(slope, subset.active)
    return (loss, aux if state == "clean" else aux_there), slope

"""The gradient of a weighted sum of losses, in one backward."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._heads import warn_of_unreached
from jaxgrad.multi_loss._linearize import Linearized, start_at
from jaxgrad.multi_loss._losses import L

__all__ = ["as_weights", "weighted_gradient"]


@overload
def weighted_gradient(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    weights: ArrayLike | Tree,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def weighted_gradient(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    weights: ArrayLike | Tree,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("losses_fn", "has_aux", "wrt", "axis_name")
def weighted_gradient(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    weights: Any,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return a weighted sum of the gradients of several losses, from one backward.

    .. math:: \sum_{k=1}^K w_k\, \nabla_\theta L_k(\theta)

    The weights are constants of the gradient: where they were computed from ``params``, nothing flows back to them. The
    result itself is differentiable, by the weights too.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        weights: One number for each loss: an array of shape ``(K,)``, or a tree of scalars with the structure of the
            losses, such as ``{"digit": 1.0, "parity": 0.3}``.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A tree like ``params``. A loss whose gradient is not finite makes the sum so, whatever its weight: 0 times
        infinity is no number. With ``has_aux``, ``(gradient, aux)``: the aux of the forward; inside of `jax.shard_map`
        it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar, the weights are not one for each loss, ``wrt`` selects
            nothing, or ``axis_name`` is no axis around.
        TypeError: If a loss or a weight is no real number, a leaf that counts is no real floating-point array, or
            ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One gradient: the forward, and one backward, whatever the number of losses.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return {"size": (w**2).sum(), "sum": w.sum()}
        >>> weights = {"size": 1.0, "sum": 10.0}
        >>> jaxgrad.multi_loss.weighted_gradient(losses, jnp.array([1.0, 3.0]), weights=weights).tolist()
        [12.0, 16.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.2 (adjoints of several results).
    """
    subset, start = start_at(losses_fn, params, data, wrt, axis_name, has_aux)
    warn_of_unreached(start, params, wrt)
    slopes = start.combined(as_weights(start, weights))
    gradient = subset.embed(jax.tree.unflatten(jax.tree.structure(subset.active), slopes))
    return (gradient, start.aux) if has_aux else gradient


def as_weights(start: Linearized, weights: Any, name: str = "weights") -> Array:
    """Return the weights as an array, in the order of the rows.

    Raises:
        ValueError: If they are not one for each loss.
        TypeError: If one is no real number.
    """
    leaves, alone = jax.tree.leaves(weights), jtu.all_leaves([weights])
    one_each = len(leaves) == start.count and all(jnp.shape(leaf) == () for leaf in leaves)
    fits = jnp.shape(weights) == (start.count,) if alone else one_each and _losses.is_like(weights, start.losses)
    if not fits:
        got = _check.describe(weights) if alone else f"a tree {jax.tree.structure(weights)}"
        message = (
            f"{name} must be one number for each loss: an array of shape ({start.count},), or a tree of scalars like"
            f" the losses; got {got}"
        )
        raise ValueError(message)
    _check.numbers_like(weights, name, jnp.float32)
    kind = _tree.accumulator(*[leaf.dtype for leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)])
    return leaves[0].astype(kind) if alone else jnp.stack([leaf.astype(kind) for leaf in leaves])

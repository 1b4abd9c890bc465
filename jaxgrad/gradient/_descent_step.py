"""One step of gradient descent as a function from tree to tree."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt

__all__ = ["descent_step"]


@overload
def descent_step(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    learning_rate: ArrayLike,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def descent_step(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    learning_rate: ArrayLike,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name", non_negative=("learning_rate",))
def descent_step(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    learning_rate: ArrayLike,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Take one step of gradient descent; the new parameters are returned, the old ones stay as they are.

    .. math:: \theta' = \theta - \eta \, \nabla L(\theta)

    The step can be differentiated, with respect to ``params``, ``data`` and ``learning_rate``. For other rules than
    this one give the gradient to an optax optimizer.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        learning_rate: The step size, a number of shape ``()``, zero or more; may be traced.
        wrt: Which leaves move: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The new parameters, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(new_params,
        aux)``: the aux of the same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, ``learning_rate`` has axes or is a negative
            Python number or NaN, or ``axis_name`` is no axis around.
        TypeError: If a leaf that moves is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient and one pass over the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def half_square(params):
        ...     return 0.5 * jnp.sum(params["w"] ** 2)
        >>> old = {"w": jnp.array([1.0, -2.0])}
        >>> jaxgrad.gradient.descent_step(half_square, old, learning_rate=0.5)["w"].tolist(), old["w"].tolist()
        ([0.5, -1.0], [1.0, -2.0])

    References:
        Cauchy (1847), Méthode générale pour la résolution des systèmes d'équations simultanées, C. R. Acad. Sci. 25.
    """
    _check.number(learning_rate, "learning_rate")
    learning_rate = _sharding.replicated(learning_rate, axis_name)
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)

    def move(leaf: Array, slope: Array) -> Array:
        return leaf - jnp.asarray(learning_rate, slope.dtype) * slope

    slopes, aux = jax.grad(subset.pair, has_aux=True)(subset.active, *data)
    moved = subset.embed(jax.tree.map(move, subset.active, slopes), lambda leaf: leaf)
    return (moved, aux) if has_aux else moved

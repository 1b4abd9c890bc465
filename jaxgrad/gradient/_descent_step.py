"""One step of gradient descent as a function from tree to tree."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Wrt

__all__ = ["descent_step"]


@jit("loss_fn", "wrt", "axis_name", non_negative=("learning_rate",))
def descent_step(
    loss_fn: LossFn, params: Params, *data: Any, learning_rate: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> Params:
    r"""Take one step of gradient descent; the new parameters are returned, the old ones stay as they are.

    .. math:: \theta' = \theta - \eta \, \nabla L(\theta)

    The step can be differentiated, with respect to ``params``, ``data`` and ``learning_rate``. For other rules than
    this one give the gradient to an optax optimizer.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        learning_rate: The step size, a number of shape ``()``, zero or more; may be traced.
        wrt: Which leaves move: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The new parameters, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If the loss is no scalar, ``wrt`` selects nothing, ``learning_rate`` has axes or is a negative
            Python number or NaN, or ``axis_name`` is no axis around.
        TypeError: If a leaf that moves is no real floating-point array.

    Cost:
        One gradient and one pass over the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> def half_square(params):
        ...     return 0.5 * jnp.sum(params["w"] ** 2)
        >>> old = {"w": jnp.array([1.0, -2.0])}
        >>> descent_step(half_square, old, learning_rate=0.5)["w"].tolist(), old["w"].tolist()
        ([0.5, -1.0], [1.0, -2.0])

    References:
        Cauchy (1847), Méthode générale pour la résolution des systèmes d'équations simultanées, C. R. Acad. Sci. 25.
    """
    _check.number(learning_rate, "learning_rate")
    learning_rate = _sharding.replicated(learning_rate, axis_name)
    subset = _tree.restrict(_check.scalar_loss(loss_fn), params, wrt, data, axis_name)
    _check.differentiable(params=subset.active)

    def move(leaf: Array, slope: Array) -> Array:
        return leaf - jnp.asarray(learning_rate, slope.dtype) * slope

    moved = jax.tree.map(move, subset.active, jax.grad(subset.fun)(subset.active, *data))
    return subset.embed(moved, lambda leaf: leaf)

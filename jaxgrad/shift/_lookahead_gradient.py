"""The gradient after a look-ahead step."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import AxisName, LossFn, Params, Wrt

__all__ = ["lookahead_gradient"]


@jit("loss_fn", "wrt", "axis_name", non_negative=("learning_rate",))
def lookahead_gradient(
    loss_fn: LossFn, params: Params, *data: Any, learning_rate: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> Params:
    r"""Differentiate a loss where a descent step would lead: the extragradient.

    .. math:: g = \nabla L\left(w - \eta\, \nabla L(w)\right)

    It is the gradient at a shift, as in `gradient`; the factor that the chain rule would add, one minus the rate
    times the Hessian, is left out, as in Korpelevich's method (`meta.maml_gradient` has it). The function itself is
    differentiable as it stands, in ``params``, ``data`` and ``learning_rate``.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        learning_rate: The length of the step, a number of shape ``()``, zero or more; may be traced.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss of both gradients is the mean
            of the devices' losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If ``learning_rate`` is a negative Python number or NaN, or has axes, the loss is no scalar, ``wrt``
            selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        Two gradients.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> lookahead_gradient(loss, jnp.array([1.0, 4.0]), learning_rate=0.25).tolist()
        [1.0, 4.0]

    References:
        Korpelevich (1976), The extragradient method for finding saddle points and other problems, Matecon 12;
        Gidel et al. (2019), A variational inequality perspective on GANs, ICLR, equations 10 and 11.
    """
    _check.number(learning_rate, "learning_rate")
    learning_rate = _sharding.replicated(learning_rate, axis_name)
    subset = _tree.restrict(_check.scalar_loss(loss_fn), params, wrt, data, axis_name)
    _check.differentiable(params=subset.active)
    slope = jax.grad(subset.fun)
    ahead = _tree.add(subset.active, _tree.scale(slope(subset.active, *data), jnp.negative(learning_rate)))
    return subset.embed(slope(ahead, *data))

"""The gradient of a scalar function with respect to its input."""

from typing import Any

import jax

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import AxisName, LossFn, Params, Tree

__all__ = ["input_gradient"]


@jit("fun", "axis_name")
def input_gradient(fun: LossFn, params: Params, x: Tree, *data: Any, axis_name: AxisName = None) -> Tree:
    r"""Compute the gradient of a scalar function with respect to its input, the parameters held.

    .. math:: \nabla_x f(\theta, x)

    For one gradient an example, give ``fun`` one example and map: ``jax.vmap(lambda x: input_gradient(fun, params,
    x))(batch)``.

    Args:
        fun: ``fun(params, x, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Any pytree; not differentiated.
        x: Pytree of floating-point arrays, the input.
        *data: Pytrees handed on to ``fun``; not differentiated.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. The derivative is with respect to the device's own ``x``.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``x``.

    Raises:
        ValueError: If ``fun`` does not return a scalar, ``x`` has no leaf, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``x`` is no real floating-point array, or the result of ``fun`` is no real number.

    Cost:
        One gradient, less the products that only the gradient of the parameters needs.

    Example:
        >>> import jax.numpy as jnp
        >>> def energy(params, x):
        ...     return params["k"] * jnp.sum(x**2)
        >>> input_gradient(energy, {"k": 3.0}, jnp.array([1.0, -2.0])).tolist()
        [6.0, -12.0]

    References:
        Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks, ICLR workshop, section 3.
    """
    _check.differentiable(x=x)
    mean = _sharding.mean_of(_check.scalar_loss(fun, "fun"), axis_name)

    def at(x: Tree) -> Any:
        return mean(params, x, *data)

    return jax.grad(at)(_sharding.own(at, x))

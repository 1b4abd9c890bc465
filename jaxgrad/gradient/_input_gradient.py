"""The gradient of a scalar function with respect to its input."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, X

__all__ = ["input_gradient"]


@overload
def input_gradient(
    fun: Function[T, X, *Ts, Array],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[False] = False,
    axis_name: AxisName = None,
) -> X: ...
@overload
def input_gradient(
    fun: Function[T, X, *Ts, tuple[Array, Aux]],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[True],
    axis_name: AxisName = None,
) -> tuple[X, Aux]: ...
@jit("fun", "has_aux", "axis_name")
def input_gradient(
    fun: Function[T, X, *Ts, Any],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: bool = False,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute the gradient of a scalar function with respect to its input, the parameters held.

    .. math:: \nabla_x f(\theta, x)

    For one gradient an example, give ``fun`` one example and map: ``jax.vmap(lambda x: input_gradient(fun, params,
    x))(batch)``.

    Args:
        fun: ``fun(params, x, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Any pytree; not differentiated.
        x: Pytree of floating-point arrays, the input.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. The derivative is with respect to the device's own ``x``.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``x``. With ``has_aux``, ``(gradient, aux)``: the aux of
        the same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``fun`` does not return a scalar, ``x`` has no leaf, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``x`` is no real floating-point array, or the result of ``fun`` is no real number; or if
            ``fun`` returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient, less the products that only the gradient of the parameters needs.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def energy(params, x):
        ...     return params["k"] * jnp.sum(x**2)
        >>> jaxgrad.gradient.input_gradient(energy, {"k": 3.0}, jnp.array([1.0, -2.0])).tolist()
        [6.0, -12.0]

    References:
        Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks, ICLR workshop, section 3.
    """
    _check.differentiable(x=x)
    mean = _sharding.mean_of(_check.scalar_loss(fun, "fun", has_aux), axis_name, has_aux)
    at = _tree.held(lambda x: mean(params, x, *data), x, None, has_aux)
    gradient, aux = jax.grad(at.pair, has_aux=True)(_sharding.own(at.fun, x))
    return (gradient, aux) if has_aux else gradient

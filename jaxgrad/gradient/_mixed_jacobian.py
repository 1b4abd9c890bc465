"""How the gradient of the parameters moves with the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, Wrt, X
from jaxgrad.gradient._jacobian import blocks, size

__all__ = ["mixed_jacobian", "mixed_product"]


@overload
def mixed_jacobian(
    fun: Function[T, X, *Ts, Array],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mode: Literal["forward", "reverse"] | None = None,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Tree: ...
@overload
def mixed_jacobian(
    fun: Function[T, X, *Ts, tuple[Array, Aux]],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[True],
    mode: Literal["forward", "reverse"] | None = None,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Tree, Aux]: ...
@jit("fun", "has_aux", "mode", "max_bytes", "wrt", "axis_name")
def mixed_jacobian(
    fun: Function[T, X, *Ts, Any],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: bool = False,
    mode: Literal["forward", "reverse"] | None = None,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate every entry of the parameter gradient with respect to the input.

    .. math:: J_{ik} = \frac{\partial}{\partial x_k} \frac{\partial f}{\partial \theta_i}(\theta, x)

    Args:
        fun: ``fun(params, x, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        x: Pytree of floating-point arrays, the input.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        mode: ``"forward"``, one pass for each number of ``x``, ``"reverse"``, one for each parameter that counts, or
            ``None`` for the one with fewer passes.
        max_bytes: The largest result to form, in bytes.
        wrt: Which leaves of ``params`` count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or
            ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. The derivative is with respect to the device's own ``x``.

    Returns:
        A tree like ``params`` with leaves of shape ``leaf.shape + x.shape``, zero on the leaves that do not count;
        where ``x`` is a tree, each leaf is a tree like ``x`` of such arrays. With ``has_aux``, ``(jacobian, aux)``: the
        aux of the same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name``
        too.

    Raises:
        ValueError: If ``fun`` does not return a scalar, the result would be larger than ``max_bytes``, the mode is
            unknown, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts, or a leaf of ``x``, is no real floating-point array; or if ``fun`` returns a
            pair without ``has_aux``, or none with it.

    Cost:
        About one gradient and ``min(P, N)`` products of 1.4 gradients each (FLOPs), in one vectorised program, for
        ``P`` parameters and ``N`` numbers in ``x``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def fun(params, x):
        ...     return params["w"] @ x**2
        >>> jaxgrad.gradient.mixed_jacobian(fun, {"w": jnp.ones(2)}, jnp.array([1.0, 3.0]))["w"].tolist()
        [[2.0, 0.0], [0.0, 6.0]]

    References:
        Koh and Liang (2017), Understanding black-box predictions via influence functions, ICML, section 2.2.
    """
    subset = _tree.restrict(_check.scalar_loss(fun, "fun", has_aux), params, wrt, (x, *data), axis_name, has_aux)
    _check.differentiable(params=subset.active, x=x)
    if mode is None:
        mode = "forward" if size(x) <= size(subset.active) else "reverse"
    x = _sharding.own(lambda x: subset.fun(subset.active, x, *data), x)
    direction = _direction(mode, lambda active, x: subset.fun(active, x, *data), subset.active, x)

    def gradient(x: Tree) -> tuple[Tree, Any]:
        return jax.grad(subset.pair, has_aux=True)(subset.active, x, *data)

    def zeros(leaf: Any) -> Tree:
        return jax.tree.map(lambda entry: jnp.zeros(jnp.shape(leaf) + entry.shape, entry.dtype), x)

    rows, _, aux = blocks(gradient, x, direction, max_bytes)
    whole = subset.embed(rows, zeros)
    return (whole, aux) if has_aux else whole


@overload
def mixed_product(
    fun: Function[T, X, *Ts, Array],
    params: T,
    vector: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> X: ...
@overload
def mixed_product(
    fun: Function[T, X, *Ts, tuple[Array, Aux]],
    params: T,
    vector: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[True],
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[X, Aux]: ...
@jit("fun", "has_aux", "mode", "wrt", "axis_name")
def mixed_product(
    fun: Function[T, X, *Ts, Any],
    params: T,
    vector: T,
    x: X,
    *data: *Ts,
    has_aux: bool = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate the inner product of a vector and the parameter gradient with respect to the input.

    .. math:: \nabla_x \left( v \cdot \nabla_\theta f(\theta, x) \right)
                  = \left.\frac{d}{dt} \nabla_x f(\theta + t v, x)\right|_{t=0}

    With a vector of ones it is the gradient of the sum of the parameter gradient. The second form is
    ``mode="forward-over-reverse"``; the first, ``"reverse-over-reverse"``, serves functions with an operation that
    has no forward rule.

    Args:
        fun: ``fun(params, x, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``.
        x: Pytree of floating-point arrays, the input.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        mode: ``"forward-over-reverse"`` or ``"reverse-over-reverse"``.
        wrt: Which leaves of ``params`` count in the inner product: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. The derivative is with respect to the device's own ``x``.

    Returns:
        The gradient with the structure, shapes and dtypes of ``x``. With ``has_aux``, ``(gradient, aux)``: the aux of
        the same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, ``fun`` does not return a scalar, the mode is unknown,
            ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts, or a leaf of ``x``, is no real floating-point array; or if ``fun`` returns a
            pair without ``has_aux``, or none with it.

    Cost:
        About 2 gradients in time and in memory; the mixed Jacobian is not formed.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def fun(params, x):
        ...     return params["w"] @ x**2
        >>> params = {"w": jnp.ones(2)}
        >>> jaxgrad.gradient.mixed_product(fun, params, {"w": jnp.array([1.0, 10.0])}, jnp.array([1.0, 3.0])).tolist()
        [2.0, 60.0]

    References:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6.
    """
    _check.choice(mode, "mode", ("forward-over-reverse", "reverse-over-reverse"))
    subset = _tree.restrict(_check.scalar_loss(fun, "fun", has_aux), params, wrt, (x, *data), axis_name, has_aux)
    _check.differentiable(params=subset.active, x=x)
    _check.mirrors(params=params, vector=vector)
    x = _sharding.own(lambda x: subset.fun(subset.active, x, *data), x)
    vector = _sharding.replicated(vector, axis_name)
    active, direction = _sharding.along(subset.fun, subset.active, subset.pick(vector), x, *data)
    # where the vector alone differs from device to device, the gradients by x of the devices must not be added up
    x = _sharding.vary(x, _sharding.varying((active, direction)))
    if mode == "forward-over-reverse":
        slope_of = jax.grad(subset.pair, argnums=1, has_aux=True)
        _, product, aux = jax.jvp(lambda active: slope_of(active, x, *data), (active,), (direction,), has_aux=True)
    else:
        slope_of = jax.grad(subset.pair, has_aux=True)
        _, pullback, aux = jax.vjp(lambda x: slope_of(active, x, *data), x, has_aux=True)
        (product,) = pullback(direction)
    return (product, aux) if has_aux else product


def _direction(mode: str, fun: Callable[..., Any], active: Params, x: Tree) -> str:
    """Return the mode, or the other one where devices share the result: it adds up the tangents of all devices' inputs.

    Raises:
        ValueError: If neither is right: the parameters and the inputs both differ from device to device.
    """
    if _sharding.shared(lambda x: fun(active, x), x):
        _sharding.refuse_shared(lambda active: fun(active, x), active)
        return "reverse"
    return "forward" if _sharding.shared(lambda active: fun(active, x), active) else mode

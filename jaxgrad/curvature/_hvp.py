"""The Hessian of a loss times a vector."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.curvature._engine._second import check_mode, forward

__all__ = ["hvp"]


@overload
def hvp(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def hvp(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[True],
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "mode", "wrt", "axis_name")
def hvp(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: bool = False,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply the Hessian of a loss by a vector, without forming the Hessian.

    .. math:: H v = \nabla^2 L(\theta)\, v = \left.\frac{d}{dt} \nabla L(\theta + t v)\right|_{t=0}
                  = \nabla \left( \nabla L(\theta) \cdot v \right)

    The first form is ``mode="forward-over-reverse"``, the second ``mode="reverse-over-reverse"``. Take the second
    where the loss has an operation without a forward rule (``jax.custom_vjp`` inside of another custom rule).

    The gradient is differentiated as it is written: a custom rule whose result hides its derivative from JAX (a
    straight-through rule that returns ``jnp.round(x)``) counts as a constant there, as in `jax.hessian`. In
    `jaxgrad.nth` the rule counts at every order. The two agree where a rule returns the value of the function itself.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        mode: ``"forward-over-reverse"`` or ``"reverse-over-reverse"``.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The product is that of the chosen block of the Hessian,
            zero on the other leaves.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        ``H v``, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(H v, aux)``: the aux of the
        same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the loss is no scalar, ``wrt`` selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, or the gradient has no forward derivative; or
            if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        About 2.6 gradients in time and two gradients in memory (the limit in FLOPs is 8/3); no array of P x P.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, scale):
        ...     return 0.5 * scale * jnp.sum(params["w"] ** 2)
        >>> jaxgrad.curvature.hvp(loss, {"w": jnp.ones(2)}, {"w": jnp.array([1.0, 3.0])}, 2.0)["w"].tolist()
        [2.0, 6.0]

    References:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6.
        Dagréou et al. (2024), How to compute Hessian-vector products?, ICLR blog track.
    """
    check_mode(mode)
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    _check.mirrors(params=params, vector=vector)
    vector = _sharding.replicated(vector, axis_name)
    active, direction = _sharding.along(subset.fun, subset.active, subset.pick(vector), *data)

    def gradient(active: Tree) -> tuple[Tree, Any]:
        return jax.grad(subset.pair, has_aux=True)(active, *data)

    if mode == "forward-over-reverse":
        _, product, aux = jax.jvp(forward(gradient, active), (active,), (direction,), has_aux=True)
    else:
        _, pullback, aux = jax.vjp(gradient, active, has_aux=True)
        (product,) = pullback(direction)
    whole = subset.embed(product)
    return (whole, aux) if has_aux else whole

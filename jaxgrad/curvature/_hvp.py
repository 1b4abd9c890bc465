"""The Hessian of a loss times a vector, or several."""

from __future__ import annotations

from typing import Any, Literal, overload

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.curvature._engine import _vectors
from jaxgrad.curvature._engine._hessian import hessian_times
from jaxgrad.curvature._engine._product import Product, whole
from jaxgrad.curvature._engine._second import check_mode

__all__ = ["hvp"]

Mode = Literal["forward-over-reverse", "reverse-over-forward", "reverse-over-reverse", "finite-difference"]
"""How the gradient is differentiated again."""


@overload
def hvp(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    mode: Mode = "forward-over-reverse",
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def hvp(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    mode: Mode = "forward-over-reverse",
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Product[T]: ...
@overload
def hvp(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    mode: Mode = "forward-over-reverse",
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def hvp(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: Literal[True],
    full_output: Literal[True],
    mode: Mode = "forward-over-reverse",
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Product[T], Aux]: ...
@jit("loss_fn", "has_aux", "full_output", "mode", "cache", "chunk", "wrt", "axis_name")
def hvp(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    vector: T,
    *data: *Ts,
    has_aux: bool = False,
    full_output: bool = False,
    mode: Mode = "forward-over-reverse",
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply the Hessian of a loss by a vector, without forming the Hessian.

    .. math:: H v = \nabla^2 L(\theta)\, v = \left.\frac{d}{dt} \nabla L(\theta + t v)\right|_{t=0}
                  = \nabla \left( \nabla L(\theta) \cdot v \right)
                  \approx \frac{|v|}{2 h} \left( \nabla L(\theta + h u) - \nabla L(\theta - h u) \right),
                  \qquad u = v / |v|

    The first form is ``mode="forward-over-reverse"``. The second is ``"reverse-over-reverse"`` where the slope along
    ``v`` comes from the gradient, for a loss that has an operation without a forward rule (``jax.custom_vjp`` inside of
    another custom rule), and ``"reverse-over-forward"`` where it is pushed forward. The last is
    ``"finite-difference"``, for a loss whose rules have no second derivative (a ``jax.pure_callback`` in one) or hide
    it; ``h`` is the cube root of the rounding, and about two thirds of the digits are right.

    The gradient is differentiated as it is written: a custom rule whose result hides its derivative from JAX (a
    straight-through rule that returns ``jnp.round(x)``) counts as a constant there, as in `jax.hessian`. In
    `jaxgrad.nth` the rule counts at every order. The two agree where a rule returns the value of the function itself.

    It is the loss as a function of the whole batch that is differentiated: a BatchNorm in training mode is taken with
    the statistics of this batch, which move with the parameters. A loss that is no pure function, one that reads a
    state of the host through a callback, cannot be told from another; `over_batches` has a check for it.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``; or several, along one more leading axis of
            the same length ``M`` on every leaf.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays: new statistics
            of a BatchNorm, for example.
        full_output: Whether to return the loss and its gradient too, from the same pass.
        mode: ``"forward-over-reverse"``, ``"reverse-over-forward"``, ``"reverse-over-reverse"`` or
            ``"finite-difference"``.
        cache: Whether what does not depend on the vector may be kept. Inside of a loop over vectors (a power
            iteration in one ``jax.jit``) XLA computes it once, in front of the loop, and holds it; with ``False`` every
            product computes it anew, in the memory of one gradient.
        chunk: How many of several vectors are multiplied at once; it need not divide ``M``. ``None`` is all, but one
            for a convolutional network on a CPU, where that is faster.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The product is that of the chosen block of the Hessian,
            zero on the other leaves.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        ``H v``, with the structure, shapes and dtypes of ``vector``; with ``full_output`` a `Product` with the fields
        ``product``, ``value`` and ``gradient``. With ``has_aux``, the pair of this and the aux of the same pass, not
        differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the loss is no scalar, ``wrt`` selects nothing, ``chunk``
            is below 1, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, or an operation has no second derivative in
            this mode (its name, its line and the mode to take are in the message); or if ``loss_fn`` returns a pair
            without ``has_aux``, or none with it.

    Cost:
        About 2.6 gradients in time and two gradients in memory (the limit in FLOPs is 8/3); no array of P x P. Of
        several vectors each takes 1.9 gradients beside the 2/3 of one that they share. Finite differences: two
        gradients each; what ``full_output`` and ``has_aux`` ask for comes from one more, at the point itself.

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
    point, vectors = _vectors.checked(subset, params, vector, data, axis_name, chunk)
    shared = tuple(_sharding.shared(subset.fun, point, *data))
    product, beside = hessian_times(lambda x: subset.pair(x, *data), point, vectors, mode, cache, shared)
    return whole(subset, vectors, product, beside, has_aux, full_output)

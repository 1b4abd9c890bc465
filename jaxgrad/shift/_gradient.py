"""The gradient of a loss at moved parameters."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.shift import _partial

__all__ = ["gradient", "value_and_grad"]


@overload
def gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "state", "wrt", "axis_name")
def gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: bool = False,
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss at shifted parameters.

    .. math:: g = \nabla_w L(w + s\, a) = \left.\nabla L\right|_{w + s\, a}

    The model is not edited: it is applied to ``w + s a``. A zero shift gives the plain gradient. With the last update
    of an optimizer for ``a`` and its momentum for ``s`` it is Nesterov's look-ahead gradient.

    A weight of 16 bits whose shift is less than half of its spacing would not move. So where such a leaf is moved the
    loss is evaluated in float32: it is given float32 in the place of every leaf of 16 bits, of ``params`` and of the
    data, and the gradient is rounded once, at its end. A model that itself casts its weights to 16 bits, such as
    Flax's with ``dtype=jnp.bfloat16``, still rounds the moved weights; keep ``dtype=None`` where that matters.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``: leaves with the paths, shapes and dtypes of those of ``params``; float32 will do for
            16 bits. Keys of dictionaries may be absent and leaves or whole nodes ``None``; what is left out is not
            moved.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        scale: The factor :math:`s` of the whole shift, a number of shape ``()``; may be negative or traced. ``None``:
            the shift as it is.
        state: Where the aux is from: ``"clean"``, a pass at ``w`` itself, so that the statistics of a BatchNorm in it
            are those of the network that is kept; or ``"moved"``, the pass at the shifted parameters. Without
            ``has_aux`` there is no difference.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux of the pass that ``state`` names, not differentiated; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, ``scale`` has axes,
            ``state`` is another word, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis
            around.
        TypeError: If a leaf that counts, or one of a shift that is scaled, is no real floating-point array, ``scale``
            is no number; or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient, and one copy of the leaves that are moved; a clean aux is one more forward.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params):
        ...     return jnp.sum(params["w"] ** 2) + params["b"]
        >>> params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
        >>> jaxgrad.shift.gradient(loss, params, {"w": jnp.array([0.5, 0.0])})["w"].tolist()
        [3.0, 4.0]

    References:
        Graves (2011), Practical variational inference for neural networks, NeurIPS (a random shift);
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3 (a shift along the gradient).
    """
    options: Any = {"has_aux": has_aux, "scale": scale, "state": state, "wrt": wrt, "axis_name": axis_name}
    value, slopes = value_and_grad(loss_fn, params, shift, *data, **options)
    return (slopes, value[1]) if has_aux else slopes


@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_grad(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "has_aux", "state", "wrt", "axis_name")
def value_and_grad(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shift: Tree,
    *data: *Ts,
    has_aux: bool = False,
    scale: ArrayLike | None = None,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate and differentiate a loss at shifted parameters.

    .. math:: \left(L(w + s\, a),\ \nabla_w L(w + s\, a)\right)

    The value is that of the shifted parameters; the aux is that of ``w`` itself, unless ``state="moved"``. Leaves of 16
    bits are moved in float32, as in `gradient`.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``, as in `gradient`: it may leave leaves out.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        scale: The factor :math:`s` of the whole shift, a number of shape ``()``; may be negative or traced. ``None``:
            the shift as it is.
        state: Where the aux is from: ``"clean"``, a pass at ``w`` itself, so that the statistics of a BatchNorm in it
            are those of the network that is kept; or ``"moved"``, the pass at the shifted parameters. Without
            ``has_aux`` there is no difference.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The loss at the shifted parameters, of shape ``()``, and the gradient, a tree like ``params``. With ``has_aux``,
        ``((loss, aux), gradient)``: the aux of the pass that ``state`` names, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, ``scale`` has axes,
            ``state`` is another word, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis
            around.
        TypeError: If a leaf that counts, or one of a shift that is scaled, is no real floating-point array, ``scale``
            is no number; or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient, and one copy of the leaves that are moved; a clean aux is one more forward.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> value, slope = jaxgrad.shift.value_and_grad(loss, jnp.array([1.0, 2.0]), jnp.array([1.0, -2.0]))
        >>> value.item(), slope.tolist()
        (4.0, [4.0, 0.0])

    References:
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3.
    """
    _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
    _partial.check(params, shift)
    _check.choice(state, "state", ("clean", "moved"))
    if scale is not None:
        _check.number(scale, "scale")
        shift = _partial.scaled(shift, _sharding.replicated(scale, axis_name))
    subset = _tree.restrict(_partial.shifted(loss_fn, has_aux), params, wrt, (shift, *data), axis_name, has_aux)
    (loss, aux), slopes = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, shift, *data)
    if has_aux and state == "clean":
        aux = subset.pair(subset.active, None, *data)[1]  # of the loss there nothing is kept, and XLA drops it
    return (loss, aux) if has_aux else loss, subset.embed(slopes)

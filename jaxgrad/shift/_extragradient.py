"""The gradient where a descent step would lead, the extragradient, alone or with the loss."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.shift import _wide

__all__ = ["extragradient", "value_and_extragradient"]


@overload
def extragradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def extragradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "state", "wrt", "axis_name", non_negative=("learning_rate",))
def extragradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss where a descent step would lead: the extragradient.

    .. math:: g = \nabla L\left(w - \eta\, \nabla L(w)\right)

    It is also called the extrapolated or the look-ahead gradient; what optimizers call Lookahead, an average of slow
    and fast weights (``optax.lookahead``), is another algorithm. It is the gradient at a shift, as in `gradient`; the
    factor that the chain rule would add, one minus the rate times the Hessian, is left out, as in Korpelevich's method
    (`meta.maml_gradient` has it). Leaves of 16 bits are moved in float32, as in `gradient`.
    The function itself is differentiable as it stands, in ``params``, ``data`` and
    ``learning_rate``.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        learning_rate: The length of the step, a number of shape ``()``, zero or more; may be traced.
        state: Which pass the aux is from: ``"clean"``, that at ``w``, or ``"moved"``, that after the step.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss of both gradients is the mean
            of the devices' losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux of the pass at ``w`` itself, whose statistics are those of the network that is kept, unless
        ``state="moved"``; it is not differentiated, and inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If ``learning_rate`` is a negative Python number or NaN, or has axes, ``state`` is another word, the
            loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        Two gradients.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> jaxgrad.shift.extragradient(loss, jnp.array([1.0, 4.0]), learning_rate=0.25).tolist()
        [1.0, 4.0]

    References:
        Korpelevich (1976), The extragradient method for finding saddle points and other problems, Matecon 12;
        Gidel et al. (2019), A variational inequality perspective on GANs, ICLR, equations 10 and 11.
    """
    options: Any = {"has_aux": has_aux, "learning_rate": learning_rate, "state": state, "wrt": wrt}
    value, slopes = value_and_extragradient(loss_fn, params, *data, axis_name=axis_name, **options)
    return (slopes, value[1]) if has_aux else slopes


@overload
def value_and_extragradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_extragradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "has_aux", "state", "wrt", "axis_name", non_negative=("learning_rate",))
def value_and_extragradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    learning_rate: ArrayLike,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate a loss, and differentiate it where a descent step would lead: the extragradient.

    .. math:: \left(L(w),\ \nabla L\left(w - \eta\, \nabla L(w)\right)\right)

    The value, and the aux, are those of the first pass, at ``w`` itself; the gradient is that of `extragradient`.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        learning_rate: The length of the step, a number of shape ``()``, zero or more; may be traced.
        state: Which pass the aux is from: ``"clean"``, that at ``w``, or ``"moved"``, that after the step.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss of both gradients is the mean
            of the devices' losses; ``None``: it is the device's own.

    Returns:
        The loss at ``w``, of shape ``()``, and the gradient after the step, a tree like ``params``. With ``has_aux``,
        ``((loss, aux), gradient)``: the aux at ``w``, unless ``state="moved"``, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``learning_rate`` is a negative Python number or NaN, or has axes, ``state`` is another word, the
            loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        Two gradients; the value and the aux come with the first.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> w = jnp.array([1.0, 4.0])
        >>> value, slope = jaxgrad.shift.value_and_extragradient(loss, w, learning_rate=0.25)
        >>> value.item(), slope.tolist()
        (17.0, [1.0, 4.0])

    References:
        Korpelevich (1976), The extragradient method for finding saddle points and other problems, Matecon 12.
    """
    _check.number(learning_rate, "learning_rate")
    _check.choice(state, "state", ("clean", "moved"))
    learning_rate = _sharding.replicated(learning_rate, axis_name)
    subset = _wide.subset_of(loss_fn, params, wrt, data, axis_name, has_aux)
    (loss, aux), descent = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, *data)
    step = _tree.scale(_tree.widened(descent), jnp.negative(learning_rate))
    ahead = _tree.add(_tree.widened(subset.active), step)
    (_, aux_ahead), slopes = jax.value_and_grad(subset.pair, has_aux=True)(ahead, *data)
    slopes = _wide.cast(slopes, subset.active)
    value = (loss, aux if state == "clean" else aux_ahead) if has_aux else loss
    return value, subset.embed(slopes)

"""The gradient of Momentum-SAM: at a point that the momentum leads up to, for the price of one gradient."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.shift import _wide
from jaxgrad.shift._ascent import unit
from jaxgrad.shift._states import check_state

__all__ = ["MSAMState", "msam_gradient", "msam_init"]


class MSAMState(NamedTuple, Generic[T]):
    """What a step of `msam_gradient` leaves to the next one."""

    trace: T
    """The sum of the gradients so far, each older one times the momentum once more; in float32 at the least."""


@jit()
def msam_init(params: T) -> MSAMState[T]:
    """Return the state before the first step of `msam_gradient`.

    It is a trace of zeros, from which the first step is not shifted.

    Args:
        params: Pytree of floating-point arrays; only shapes and dtypes count. More in ``help(jaxgrad)``.

    Returns:
        An `MSAMState`; its tree has the structure and shapes of ``params``, in float32 for leaves of 16 bits.

    Raises:
        ValueError: If ``params`` has no leaf.
        TypeError: If a leaf is no real floating-point array.

    Cost:
        One tree of zeros.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.shift.msam_init({"w": jnp.ones(2)}).trace["w"].tolist()
        [0.0, 0.0]

    References:
        Becker, Altrock and Risse (2024), Momentum-SAM: sharpness aware minimization without computational overhead,
        arXiv:2401.12033.
    """
    _check.floating(params=params)
    return MSAMState(jax.tree.map(jnp.zeros_like, _tree.widened(params)))


@overload
def msam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    state: MSAMState[T],
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    momentum: ArrayLike = 0.9,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, MSAMState[T]]: ...
@overload
def msam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    state: MSAMState[T],
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    momentum: ArrayLike = 0.9,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[T, MSAMState[T]], Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name", non_negative=("momentum",))
def msam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    state: MSAMState[T],
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    momentum: ArrayLike = 0.9,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss where the momentum of its gradients leads up to: Momentum-SAM.

    .. math:: g = \nabla L\Bigl(w + \rho \frac{m}{\lVert m \rVert}\Bigr), \qquad m \leftarrow \mu\, m + g

    The trace ``m`` adds up gradients, as that of `optax.sgd` with this momentum does: it points uphill, and the
    parameters are moved along it, against the coming update. So :math:`L(w + \rho\, m / \lVert m \rVert)` is
    :math:`L` and :math:`\rho` times the slope along ``m``, which is held down, as SAM holds down that along the
    gradient; with a momentum of 0 it is SAM with the last gradient in the place of the present one. Where a velocity
    ``v = mu v - rate g`` stands for the momentum, uphill is ``-v``. A negative radius leads the other way, ahead along
    the coming update, as Nesterov's method does but as far as the radius says and not the learning rate: that rewards
    the slope, and is no method against sharp minima. There is no second gradient, and no pass at ``w`` itself. The
    shift is a constant for differentiation by ``params``; a zero trace has a zero shift, and leaves of 16 bits are
    moved in float32, as in `sam_gradient`.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        state: That of `msam_init`, then the one that the last call returned.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays, the loss too.
        radius: The length of the shift :math:`\rho`, a number of shape ``()``; may be traced. Negative: ahead.
        momentum: The factor :math:`\mu` of the trace, from 0 to 1; may be traced.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved, get zeros and have no trace.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the gradient is that of the mean of the
            devices' losses, with one state for all; ``None``: the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``, and the next state. With ``has_aux``,
        ``((gradient, state), aux)``: the aux of the only pass, at the shifted parameters, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``state`` is not like ``params``, ``momentum`` is a negative Python number or NaN, it or
            ``radius`` has axes, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``state`` is no `MSAMState`, a leaf that counts no real floating-point array; or if ``loss_fn``
            returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> w = jnp.array([3.0, 4.0])
        >>> state = jaxgrad.shift.msam_init(w)
        >>> for _ in range(2):
        ...     slope, state = jaxgrad.shift.msam_gradient(loss, w, state, radius=0.5)
        ...     print([round(x, 4) for x in slope.tolist()])
        [3.0, 4.0]
        [3.3, 4.4]

    References:
        Becker, Altrock and Risse (2024), Momentum-SAM: sharpness aware minimization without computational overhead,
        arXiv:2401.12033.
    """
    _check.number(radius, "radius")
    _check.number(momentum, "momentum")
    check_state(state, MSAMState, "trace", "msam_init", params)
    radius, momentum, whole = _sharding.replicated((radius, momentum, state.trace), axis_name)
    subset = _wide.subset_of(loss_fn, params, wrt, data, axis_name, has_aux)
    start, trace = _tree.widened((subset.active, subset.pick(whole)))
    there = _tree.add(start, _tree.scale(unit(trace), radius))
    (_, aux), slope = jax.value_and_grad(subset.pair, has_aux=True)(there, *data)
    trace = subset.embed(_tree.add(_tree.scale(trace, momentum), slope))
    trace = _wide.cast(trace, whole)
    slope = _wide.cast(slope, subset.active)
    result = subset.embed(slope), MSAMState(trace)
    return (result, aux) if has_aux else result

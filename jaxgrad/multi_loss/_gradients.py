"""One gradient for each of several losses, from one forward."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.multi_loss._linearize import linearize
from jaxgrad.multi_loss._losses import L

__all__ = ["gradients", "losses_and_gradients"]


@overload
def gradients(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def gradients(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("losses_fn", "chunk", "has_aux", "wrt", "axis_name")
def gradients(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate several losses that share a forward, each on its own.

    .. math:: g_k = \nabla_\theta L_k(\theta), \qquad k = 1, \dots, K

    The forward runs once. A loss that is returned as an item of a tuple, list or dictionary, or stacked from scalars
    (``jnp.stack([loss_a, loss_b])``), has a backward of its own: it does no work for the other losses, and a NaN
    stays in its row. An array that is computed as a whole has one backward for many rows at a time; a row is then
    what ``jax.grad`` of that entry gives.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses: an array of shape ``(K,)``, or a tuple, list or
            dictionary of scalars of one dtype. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        chunk: How many rows of an array of losses to compute at a time; ``None`` for all. Fewer take less memory.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths (``"trunk"``), a predicate ``wrt(path, leaf)``, or
            ``None`` for all; the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A tree like ``params`` with a new leading axis of length ``K``: one gradient a row, in the order of the losses;
        for a dictionary in the order of its sorted keys. Zeros where a loss does not depend on a leaf. With
        ``has_aux``, ``(gradients, aux)``: the aux of the one forward, not differentiated; inside of `jax.shard_map` it
        is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar (named by its index or key), ``chunk`` is not positive,
            ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a loss is no real floating-point number, the dtypes of the losses differ, a leaf that counts is no
            real floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward and ``K`` backwards: about ``(1 + 2 K) / 3`` gradients where all layers are shared, and ``K``
        numbers of memory for each of ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(params, x):
        ...     shared = params["trunk"] * x
        ...     return {"a": params["head_a"] * shared, "b": shared**2}
        >>> rows = jaxgrad.multi_loss.gradients(losses, {"trunk": jnp.array(2.0), "head_a": jnp.array(5.0)}, 3.0)
        >>> rows["trunk"].tolist(), rows["head_a"].tolist()
        ([15.0, 36.0], [6.0, 0.0])
        >>> def losses_and_prediction(w, x):
        ...     return (w * x, (w * x) ** 2), w * x
        >>> jaxgrad.multi_loss.gradients(losses_and_prediction, jnp.array(2.0), 3.0, has_aux=True)[1].item()
        6.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.3 (vector reverse mode);
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS.
    """
    options: Any = {"chunk": chunk, "has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, rows = losses_and_gradients(losses_fn, params, *data, **options)
    return (rows, value[1]) if has_aux else rows


@overload
def losses_and_gradients(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[L, T]: ...
@overload
def losses_and_gradients(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[L, Aux], T]: ...
@jit("losses_fn", "chunk", "has_aux", "wrt", "axis_name")
def losses_and_gradients(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate and differentiate several losses that share a forward.

    .. math:: (L_k, \nabla_\theta L_k), \qquad k = 1, \dots, K

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        chunk: How many rows of an array of losses to compute at a time; ``None`` for all.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        What ``losses_fn`` returned, and the gradients, a tree like ``params`` with a new leading axis of length ``K``.
        With ``has_aux``, ``((losses, aux), gradients)``: the aux of the one forward, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar (named by its index or key), ``chunk`` is not positive,
            ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a loss is no real floating-point number, the dtypes of the losses differ, a leaf that counts is no
            real floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward and ``K`` backwards.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return w.sum(), (w**2).sum()
        >>> values, rows = jaxgrad.multi_loss.losses_and_gradients(losses, jnp.array([1.0, 3.0]))
        >>> [value.item() for value in values], rows.tolist()
        ([4.0, 10.0], [[1.0, 1.0], [2.0, 6.0]])

    References:
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS.
    """
    if chunk is not None:
        chunk = _check.count(chunk, "chunk", least=1)
    subset = _tree.held(losses_fn, _sharding.replicated(params, axis_name), wrt)
    _check.differentiable(params=subset.active)
    start = linearize(subset.fun, subset.active, *data, axis_name=axis_name, has_aux=has_aux)
    rows = jax.tree.unflatten(jax.tree.structure(subset.active), start.rows(chunk))
    value = (start.losses, start.aux) if has_aux else start.losses
    return value, jax.vmap(subset.embed)(rows)

"""The mean of the gradients at several shifts."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.shift import _partial

__all__ = ["expected_gradient"]


@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    unroll: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    unroll: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "unroll", "wrt", "axis_name")
def expected_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: bool = False,
    unroll: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Average the gradients of a loss at several shifted parameters.

    .. math:: g = \frac{1}{K} \sum_{k=1}^K \nabla L(w + a_k) \approx \mathbb E_a\, \nabla L(w + a)

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shifts: The shifts, along a new leading axis of length ``K`` of every leaf, for example from `random_shifts`.
            Keys of dictionaries may be absent and leaves or whole nodes ``None``; what is left out is not moved.
        *data: Pytrees handed on to ``loss_fn``, the same at every shift; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        unroll: Write the ``K`` gradients one after the other into the program instead of a loop. Worth it for a
            convolutional network on a CPU, where XLA is several times slower inside a loop; the program, and what it
            may hold at one time, then grow with ``K``.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The mean gradient, with the structure, shapes and dtypes of ``params``; it is summed in float32 at the least.
        With ``has_aux``, ``(gradient, aux)``: each leaf of the aux stacked along a leading axis of shifts, not
        differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``shifts`` has no leaf, or one that ``params`` has not, or not with a leading axis of the same
            length in front of that shape, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis
            around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        ``K`` gradients in the memory of one, beside the shifts themselves, and a running sum.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return w**3
        >>> jaxgrad.shift.expected_gradient(loss, jnp.array(1.0), jnp.array([-1.0, 1.0])).item()
        6.0

    References:
        Graves (2011), Practical variational inference for neural networks, NeurIPS;
        Duchi, Bartlett and Wainwright (2012), Randomized smoothing for stochastic optimization, SIAM J. Optim. 22.
    """
    _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
    num_shifts = _check.same_leading(shifts=shifts)
    _partial.check(params, shifts, "shifts", (num_shifts,))
    if num_shifts == 0:
        message = "shifts is empty: its leading axis has length 0, and a mean over no shift is undefined"
        raise ValueError(message)
    first = _tree.take(shifts, 0)
    subset = _tree.restrict(_partial.shifted(loss_fn, has_aux), params, wrt, (first, *data), axis_name, has_aux)

    def add_one(total: Tree, shift: Tree) -> tuple[Tree, Any]:
        slope, aux = jax.grad(subset.pair, has_aux=True)(subset.active, shift, *data)
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, slope), aux

    def mean(total: Array, w: Array) -> Array:
        return (total / num_shifts).astype(w.dtype)

    start = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=_tree.accumulator(w.dtype)), subset.active)
    total, aux = jax.lax.scan(add_one, start, shifts, unroll=unroll)
    gradient = subset.embed(jax.tree.map(mean, total, subset.active))
    return (gradient, aux) if has_aux else gradient

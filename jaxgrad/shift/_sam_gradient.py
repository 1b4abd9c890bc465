"""The gradient of sharpness-aware minimisation, alone or with the loss."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, overload

import jax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, Wrt
from jaxgrad.shift import _wide
from jaxgrad.shift._ascent import Ascent, gradient_at_worst, sizes
from jaxgrad.shift._groups import mean_over_groups

__all__ = ["sam_gradient", "value_and_sam_gradient"]

STATIC = (
    *("loss_fn", "has_aux", "adaptive", "scaled", "num_steps", "groups", "batched", "exact", "state"),
    *("wrt", "axis_name"),
)
"""The arguments that are known when a function is traced."""


@overload
def sam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def sam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit(*STATIC, non_negative=("radius", "offset"))
def sam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss at its worst point nearby, to first order: SAM and ASAM.

    .. math:: g = \nabla L(w + a), \qquad
              a = \rho\, \frac{T^2 \nabla L(w)}{\lVert T \nabla L(w) \rVert_2}, \qquad
              T = I \ \text{(SAM)}, \quad T = \operatorname{diag}(|w|) + \eta I \ \text{(ASAM)}

    The shift is a constant for differentiation, as in the paper: its own derivative with respect to the parameters
    is left out of the gradient. It is left out, too, when the result is differentiated once more (``data`` does not
    reach the shift then either; ``radius`` does). With ``exact=True`` it is there, and the result is the gradient of
    :math:`w \mapsto L(w + a(w))`, which can be differentiated once more like any other:

    .. math:: g = \nabla L(w + a) + \Bigl(\frac{\partial a}{\partial w}\Bigr)^{\!\top} \nabla L(w + a), \qquad
              \frac{\partial a}{\partial w} = \frac{\rho}{\lVert \nabla L \rVert}
              \bigl(I - u u^\top\bigr) \nabla^2 L(w), \quad u = \frac{\nabla L}{\lVert \nabla L \rVert}
              \quad \text{(for SAM)}

    Where the gradient at ``w`` is exactly zero there is no direction: the shift is zero, and the result is the plain
    gradient, never NaN. No constant is added to the norm, so that ``c`` times the loss has ``c`` times the gradient, as
    a scaled loss needs; the norm is one over all leaves that count, in float32 at the least.

    ASAM's authors take ``T = I`` for biases, ``scaled="*/kernel"``; here every leaf that counts is treated alike unless
    that is said. With ``offset=0`` a weight that is exactly zero is not moved. Leaves of 16 bits are moved in float32,
    as in `gradient`: all passes but the first are evaluated there.

    With ``groups`` the batch falls into parts of neighbours, each with a shift of its own, and value and gradient are
    the means over them: m-sharpness, where m is the number of examples in a group. Their number is never that of the
    devices by itself.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        radius: The length of the shift :math:`\rho` (for ASAM in units of ``T``), a number of shape ``()``, zero or
            more; may be traced. Common: 0.05 for SAM, 0.5 to 2 for ASAM.
        adaptive: ``False`` for SAM, ``True`` for ASAM, whose shift scales with each weight.
        offset: What ASAM adds to the magnitude of each weight, :math:`\eta`. SAM has no use for it.
        scaled: Which leaves ASAM scales by their magnitude, written as ``wrt`` is; 1 in the place of the others' ``T``.
        num_steps: How many steps of ``radius / num_steps`` lead up, a Python integer; ``T`` is that of ``w``.
        groups: How many groups of equal size the batch is split into along its leading axis; ``None``: it is one. With
            ``axis_name`` they are those of all devices, a multiple of their number.
        batched: The positions in ``data`` of what is split, ``(0, 1)`` for ``x`` and ``y``; ``None``: everything. The
            rest, such as a model's state or a key, is handed to every group.
        exact: Whether the derivative of the shift is part of the gradient.
        state: Which pass the aux is from: ``"clean"``, that at ``w``, or ``"moved"``, the last one.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both gradients are those of the mean of
            the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The gradient at the shifted parameters, with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``(gradient, aux)``: the aux of the pass at ``w`` itself, whose statistics are those of the network that is
        kept, unless ``state="moved"``; with ``groups`` stacked along a leading axis of them. It is not differentiated,
        and inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``radius`` or ``offset`` is a negative Python number or NaN, or has axes, ``num_steps`` or
            ``groups`` is below 1, ``groups`` does not divide the batch or the devices do not divide it, ``batched``
            names no argument, ``state`` is another word, the loss is no scalar, ``wrt`` or ``scaled`` selects nothing,
            or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, ``num_steps`` or ``groups`` no Python integer;
            or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps + 1`` gradients, one after the other; two more for every step where it is exact. Groups are run one
        after the other, and need the memory of one.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> [round(x, 4) for x in jaxgrad.shift.sam_gradient(loss, jnp.array([3.0, 4.0]), radius=0.5).tolist()]
        [3.3, 4.4]

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1;
        Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization, ICML, equation 8;
        Andriushchenko and Flammarion (2022), Towards understanding sharpness-aware minimization, ICML (groups).
    """
    options: Any = {
        **{"has_aux": has_aux, "radius": radius, "adaptive": adaptive, "offset": offset, "scaled": scaled},
        **{"num_steps": num_steps, "groups": groups, "batched": batched, "exact": exact, "state": state},
    }
    value, slopes = value_and_sam_gradient(loss_fn, params, *data, wrt=wrt, axis_name=axis_name, **options)
    return (slopes, value[1]) if has_aux else slopes


@overload
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit(*STATIC, non_negative=("radius", "offset"))
def value_and_sam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    groups: int | None = None,
    batched: Sequence[int] | None = None,
    exact: bool = False,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate a loss, and differentiate it at its worst point nearby: SAM and ASAM.

    .. math:: \left(L(w),\ \nabla L(w + a)\right), \qquad a \ \text{as in `sam_gradient`}

    The value, and the aux, are those of the first pass, at ``w`` itself: the loss of the network that is kept, and for
    batch normalisation the statistics of its own activations, not of those at the worst point.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        radius: The length of the shift, a number of shape ``()``, zero or more; may be traced.
        adaptive: ``False`` for SAM, ``True`` for ASAM, whose shift scales with each weight.
        offset: What ASAM adds to the magnitude of each weight. SAM has no use for it.
        scaled: Which leaves ASAM scales by their magnitude, written as ``wrt`` is; 1 in the place of the others' ``T``.
        num_steps: How many steps of ``radius / num_steps`` lead up, a Python integer; ``T`` is that of ``w``.
        groups: How many groups of equal size the batch is split into along its leading axis; ``None``: it is one. With
            ``axis_name`` they are those of all devices, a multiple of their number.
        batched: The positions in ``data`` of what is split, ``(0, 1)`` for ``x`` and ``y``; ``None``: everything. The
            rest, such as a model's state or a key, is handed to every group.
        exact: Whether the derivative of the shift is part of the gradient.
        state: Which pass the aux is from: ``"clean"``, that at ``w``, or ``"moved"``, the last one.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss, and both gradients, are those
            of the mean of the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The loss at ``w``, of shape ``()``, and the gradient at the shifted parameters, a tree like ``params``. With
        ``has_aux``, ``((loss, aux), gradient)``: the aux at ``w``, unless ``state="moved"``; with ``groups`` stacked
        along a leading axis of them. It is not differentiated, and inside of `jax.shard_map` it is the device's own,
        with ``axis_name`` too.

    Raises:
        ValueError: If ``radius`` or ``offset`` is a negative Python number or NaN, or has axes, ``num_steps`` or
            ``groups`` is below 1, ``groups`` does not divide the batch or the devices do not divide it, ``batched``
            names no argument, ``state`` is another word, the loss is no scalar, ``wrt`` or ``scaled`` selects nothing,
            or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, ``num_steps`` or ``groups`` no Python integer;
            or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps + 1`` gradients, one after the other; two more for every step where it is exact. Groups are run one
        after the other, and need the memory of one. The value and the aux come with the first gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> value, slope = jaxgrad.shift.value_and_sam_gradient(loss, jnp.array([3.0, 4.0]), radius=0.5)
        >>> value.item(), [round(x, 4) for x in slope.tolist()]
        (12.5, [3.3, 4.4])

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1;
        Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization, ICML, equation 8;
        Andriushchenko and Flammarion (2022), Towards understanding sharpness-aware minimization, ICML (groups).
    """
    _check.number(radius, "radius")
    _check.number(offset, "offset")
    _check.choice(state, "state", ("clean", "moved"))
    num_steps = _check.count(num_steps, "num_steps", least=1)
    radius, offset, params = _sharding.replicated((radius, offset, params), axis_name)
    by_size = jax.tree.unflatten(jax.tree.structure(params), _tree.selected(params, scaled, "scaled"))
    # the groups of a device are its own: what is left to the axis is the mean over all of them
    within = axis_name if groups is None else None

    def one(*part: Any) -> tuple[Any, Params]:
        subset = _wide.subset_of(loss_fn, params, wrt, part, within, has_aux)
        # an exact gradient is the device's own where its radius is, too
        subset = subset._replace(active=_sharding.vary(subset.active, _sharding.varying((radius, offset))))
        metric = functools.partial(sizes, offset, jax.tree.leaves(subset.pick(by_size))) if adaptive else _no_metric
        value, slopes = gradient_at_worst(subset, Ascent(radius, num_steps, metric, exact), part, state)
        return value, subset.embed(slopes)

    (loss, aux), slopes = one(*data) if groups is None else mean_over_groups(one, data, groups, batched, axis_name)
    return (loss, aux) if has_aux else loss, slopes


def _no_metric(_: Tree) -> None:
    """Say that all entries count alike."""

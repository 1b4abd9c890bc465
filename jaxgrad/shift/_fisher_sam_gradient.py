"""The gradient of Fisher-SAM: a worst point nearby, where distances are those between the model's predictions."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.shift import _wide
from jaxgrad.shift._ascent import Ascent, gradient_at_worst

__all__ = ["fisher_sam_gradient"]


@overload
def fisher_sam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    fisher: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    strength: ArrayLike = 1.0,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def fisher_sam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    fisher: T,
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    strength: ArrayLike = 1.0,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "state", "wrt", "axis_name", non_negative=("radius", "strength"))
def fisher_sam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    fisher: T,
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    strength: ArrayLike = 1.0,
    state: Literal["clean", "moved"] = "clean",
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate a loss at its worst point in an ellipsoid of the diagonal of a Fisher matrix: Fisher-SAM.

    .. math:: g = \nabla L(w + a), \qquad
              a = \rho\, \frac{M^{-1} \nabla L(w)}{\sqrt{\nabla L(w)^\top M^{-1} \nabla L(w)}}, \qquad
              M = I + \eta \operatorname{diag}(F)

    Of the diagonal nothing is assumed but that it is not negative: the empirical Fisher of the batch is
    ``per_example.moments(loss_of_one, params, x, y).second_moment``, the mean of the squares of the gradients of
    single examples (the square of their mean is another thing). The shift is a constant for differentiation, ``fisher``
    too. A zero gradient has a zero shift, and leaves of 16 bits are moved in float32, as in `sam_gradient`.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        fisher: The diagonal ``F``, a tree like ``params``, no entry negative.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays, the loss too.
        radius: The length of the shift :math:`\rho` in units of ``M``, a number of shape ``()``, zero or more; may be
            traced.
        strength: How much the Fisher matrix counts beside the identity, :math:`\eta`; 0 is SAM.
        state: Which pass the aux is from: ``"clean"``, that at ``w``, or ``"moved"``, that at the worst point.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both gradients are those of the mean of
            the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The gradient at the shifted parameters, with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``(gradient, aux)``: the aux of the pass that ``state`` names, not differentiated; inside of `jax.shard_map` it
        is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``fisher`` is not like ``params``, ``radius`` or ``strength`` is a negative Python number or NaN,
            or has axes, ``state`` is another word, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is
            no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        Two gradients, one after the other.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> w, fisher = jnp.array([1.0, 1.0]), jnp.array([0.0, 3.0])
        >>> slope = jaxgrad.shift.fisher_sam_gradient(loss, w, fisher, radius=1.25**0.5)
        >>> [round(x, 4) for x in slope.tolist()]
        [2.0, 1.25]

    References:
        Kim et al. (2022), Fisher SAM: information geometry and sharpness aware minimisation, ICML, section 3.
    """
    _check.number(radius, "radius")
    _check.number(strength, "strength")
    _check.choice(state, "state", ("clean", "moved"))
    _check.mirrors(params=params, fisher=fisher)
    radius, strength, fisher = _sharding.replicated((radius, strength, fisher), axis_name)
    subset = _wide.subset_of(loss_fn, params, wrt, data, axis_name, has_aux)

    def metric(_: Tree) -> Tree:
        # the inverse root of M: with it the step T^2 g / |T g| is the one above
        diagonal = _tree.scale(_tree.widened(subset.pick(fisher)), strength)
        return jax.tree.map(lambda f: jax.lax.rsqrt(1 + f), jax.lax.stop_gradient(diagonal))

    value, slopes = gradient_at_worst(subset, Ascent(radius, 1, metric, exact=False), data, state)
    return (subset.embed(slopes), value[1]) if has_aux else subset.embed(slopes)

"""The gradient of LookSAM: what SAM adds to a gradient, looked up at every k-th step and kept in between."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.gradient import global_norm
from jaxgrad.shift import _wide
from jaxgrad.shift._ascent import climb, unit
from jaxgrad.shift._states import check_state

__all__ = ["LookSAMState", "looksam_gradient", "looksam_init"]


class LookSAMState(NamedTuple, Generic[T]):
    """What a step of `looksam_gradient` leaves to the next one."""

    step: Array
    """How many steps there were, an integer."""
    across: T
    """The part of the last SAM gradient across the plain one, in float32 at the least."""


@jit()
def looksam_init(params: T) -> LookSAMState[T]:
    """Return the state before the first step of `looksam_gradient`.

    It counts no step, so that the first one is a step of SAM, and keeps zeros.

    Args:
        params: Pytree of floating-point arrays; only shapes and dtypes count. More in ``help(jaxgrad)``.

    Returns:
        A `LookSAMState`; its tree has the structure and shapes of ``params``, in float32 for leaves of 16 bits.

    Raises:
        ValueError: If ``params`` has no leaf.
        TypeError: If a leaf is no real floating-point array.

    Cost:
        One tree of zeros.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> state = jaxgrad.shift.looksam_init({"w": jnp.ones(2)})
        >>> state.step.item(), state.across["w"].tolist()
        (0, [0.0, 0.0])

    References:
        Liu et al. (2022), Towards efficient and scalable sharpness-aware minimization, CVPR, algorithm 1.
    """
    _check.floating(params=params)
    return LookSAMState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, _tree.widened(params)))


@overload
def looksam_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    state: LookSAMState[T],
    *data: *Ts,
    has_aux: Literal[False] = False,
    radius: ArrayLike,
    every: int = 5,
    alpha: ArrayLike = 0.7,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, LookSAMState[T]]: ...
@overload
def looksam_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    state: LookSAMState[T],
    *data: *Ts,
    has_aux: Literal[True],
    radius: ArrayLike,
    every: int = 5,
    alpha: ArrayLike = 0.7,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[T, LookSAMState[T]], Aux]: ...
@jit("loss_fn", "has_aux", "every", "wrt", "axis_name", non_negative=("radius", "alpha"))
def looksam_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    state: LookSAMState[T],
    *data: *Ts,
    has_aux: bool = False,
    radius: ArrayLike,
    every: int = 5,
    alpha: ArrayLike = 0.7,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Take a gradient of SAM at every k-th step, and what it added to the plain one in between: LookSAM.

    .. math:: s = \nabla L\Bigl(w + \rho \frac{g}{\lVert g \rVert}\Bigr), \quad
              v = s - \frac{s^\top g}{g^\top g}\, g \quad \text{at every } k\text{-th step}, \qquad
              g + \alpha \lVert g \rVert \frac{v}{\lVert v \rVert} \quad \text{in between}, \qquad g = \nabla L(w)

    The part of SAM's gradient across the plain one changes slowly. The first step with a fresh state is one of SAM,
    whose result is ``s``. Where ``v`` is zero nothing is added. The direction of the ascent is a constant for
    differentiation; leaves of 16 bits are moved in float32, as in `sam_gradient`.

    What is added is as long as ``alpha`` says, however short ``v`` is, and points one way for ``k - 1`` steps, which
    momentum ``m`` makes up to ``1 / (1 - m)`` times as long. So ``alpha`` should not be much above
    :math:`\lVert v \rVert / \lVert g \rVert` at the steps of SAM: there 0.7, the paper's, is many times what SAM adds
    at a small radius, and a run may not come down (see "LookSAM's alpha" in the documentation).

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        state: That of `looksam_init`, then the one that the last call returned.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays, the loss too.
        radius: The length of the ascent :math:`\rho`, a number of shape ``()``, zero or more; may be traced.
        every: The number ``k`` of steps from one SAM gradient to the next, a Python integer; 1 is SAM.
        alpha: The length of what is added in plain gradients, :math:`\alpha`; zero or more, may be traced. 0.7 is the
            paper's, for radii at which SAM adds as much; see above.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the gradients are those of the mean of
            the devices' losses, with one state for all; ``None``: the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``, and the next state. With ``has_aux``,
        ``((gradient, state), aux)``: the aux of the pass at ``w``, not differentiated; inside of `jax.shard_map` it is
        the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``state`` is not like ``params``, ``radius`` or ``alpha`` is a negative Python number or NaN, or
            has axes, ``every`` is below 1, the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis
            around.
        TypeError: If ``state`` is no `LookSAMState`, ``every`` no Python integer, a leaf that counts no real
            floating-point array; or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient, and two at every ``k``-th step; under ``vmap`` two at all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return w[0] ** 2 + 0.5 * w[1] ** 2
        >>> w = jnp.array([1.0, 1.0])
        >>> state = jaxgrad.shift.looksam_init(w)
        >>> for _ in range(2):
        ...     slope, state = jaxgrad.shift.looksam_gradient(loss, w, state, radius=0.5, every=2)
        ...     print([round(x, 3) for x in slope.tolist()], state.step.item())
        [2.894, 1.224] 1
        [2.7, -0.4] 2

    References:
        Liu et al. (2022), Towards efficient and scalable sharpness-aware minimization, CVPR, algorithm 1.
    """
    _check.number(radius, "radius")
    _check.number(alpha, "alpha")
    every = _check.count(every, "every", least=1)
    check_state(state, LookSAMState, "across", "looksam_init", params)
    radius, alpha, step, kept = _sharding.replicated((radius, alpha, state.step, state.across), axis_name)
    subset = _wide.subset_of(loss_fn, params, wrt, data, axis_name, has_aux)
    (_, aux), slope = jax.value_and_grad(subset.pair, has_aux=True)(subset.active, *data)
    start, slope, before = _tree.widened((subset.active, slope, subset.pick(kept)))
    # the state may lie whole where the parameters lie in parts; it leaves as it came
    across = jax.tree.map(_sharding.like, before, slope)

    def slope_at(point: Tree) -> Tree:
        return jax.grad(subset.fun)(point, *data)

    def look(_: Tree) -> tuple[Tree, Tree]:
        shift = climb(slope_at, start, lax.stop_gradient(slope), None, radius, 1)
        sharp, direction = slope_at(_tree.add(start, shift)), unit(slope)
        return sharp, _tree.add(sharp, _tree.scale(direction, -_tree.dot(sharp, direction)))

    def reuse(across: Tree) -> tuple[Tree, Tree]:
        added = _tree.scale(_tree.scale(unit(across), global_norm(slope)), alpha)
        return _tree.add(slope, added), across

    # the two branches must differ over the same axes of a mesh
    axes = _sharding.varying((slope, across, radius, alpha))
    branches = [lambda kept, branch=branch: _sharding.vary(branch(kept), axes) for branch in (look, reuse)]
    found, across = lax.cond(step % every == 0, *branches, across)
    gradient = _wide.cast(found, subset.active)
    across = _wide.cast(subset.embed(jax.tree.map(_sharding.like, across, before)), kept)
    result = subset.embed(gradient), LookSAMState(step + 1, across)
    return (result, aux) if has_aux else result

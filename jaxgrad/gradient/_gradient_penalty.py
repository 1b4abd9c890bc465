"""Penalties on the input gradient of a critic."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, X

__all__ = ["gradient_penalty"]


@overload
def gradient_penalty(
    fun: Function[T, X, *Ts, Array],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[False] = False,
    target: ArrayLike | None = 1.0,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def gradient_penalty(
    fun: Function[T, X, *Ts, tuple[Array, Aux]],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: Literal[True],
    target: ArrayLike | None = 1.0,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit("fun", "has_aux", "axis_name", non_negative=("target",))
def gradient_penalty(
    fun: Function[T, X, *Ts, Any],
    params: T,
    x: X,
    *data: *Ts,
    has_aux: bool = False,
    target: ArrayLike | None = 1.0,
    axis_name: AxisName = None,
) -> Any:
    r"""Penalise the input gradient of a critic that is far from a target norm, averaged over a batch.

    .. math:: \frac{1}{B} \sum_b \left(\lVert \nabla_x f(\theta, x_b) \rVert_2 - c\right)^2
              \qquad\text{or, without a target,}\qquad
              \frac{1}{B} \sum_b \lVert \nabla_x f(\theta, x_b) \rVert_2^2

    The first is the penalty of WGAN-GP with ``target=1.0``, where ``x`` lies between a real and a generated example;
    the second, ``target=None``, is R1 on real examples and R2 on generated ones. Both can be differentiated with
    respect to ``params``. Where a gradient is zero the derivative of its norm is taken to be zero, as torch takes
    it; the raw formula gives NaN.

    Args:
        fun: ``fun(params, x, *data) -> ()``, the critic on ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of arrays, the critic's parameters.
        x: Pytree of floating-point arrays with a leading batch axis.
        *data: Pytrees with the same leading axis, such as labels, one row an example; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        target: The norm ``c`` to be near to, a number of shape ``()``, zero or more, that may be traced; ``None`` for
            the plain square.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over the batch is that over
            all devices' batches; ``None``: over the device's own.

    Returns:
        The mean penalty, of shape ``()``, accumulated in float32 or wider. With ``has_aux``, ``(penalty, aux)``: each
        leaf of the aux stacked along a leading axis of examples, not differentiated; inside of `jax.shard_map` those of
        the device's own examples, with ``axis_name`` too.

    Raises:
        ValueError: If ``fun`` does not return a scalar on one example, the batch is empty or ragged, ``target`` is a
            negative Python number or has axes, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``x`` is no real floating-point array; or if ``fun`` returns a pair without ``has_aux``,
            or none with it.

    Cost:
        About 2/3 of a gradient over the batch (FLOPs), for no weight's gradient is formed; its own gradient with
        respect to ``params`` about 2.1.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def critic(params, x):
        ...     return params["w"] @ x
        >>> params, batch = {"w": jnp.array([3.0, 4.0])}, jnp.ones((8, 2))
        >>> jaxgrad.gradient.gradient_penalty(critic, params, batch).item()
        16.0
        >>> jaxgrad.gradient.gradient_penalty(critic, params, batch, target=None).item()
        25.0

    References:
        Gulrajani et al. (2017), Improved training of Wasserstein GANs, NeurIPS, eq. 3.
        Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge?, ICML, eq. 9.
    """
    _check.differentiable(x=x)
    _check.batch((x, *data))
    if target is not None:
        _check.number(target, "target")
    critic = _check.scalar_loss(fun, "fun", has_aux)

    def penalty(params: Params, x: Tree, *data: Any) -> tuple[Array, Any]:
        at = _tree.held(lambda x: critic(params, x, *data), x, None, has_aux)
        slope, aux = jax.grad(at.pair, has_aux=True)(_sharding.own(at.fun, x))
        if target is None:
            return _tree.dot(slope, slope), aux
        norm = _tree.norm(slope)
        return (norm - jnp.asarray(target, norm.dtype)) ** 2, aux

    def mean(params: Params) -> tuple[Array, Any]:
        penalties, aux = jax.vmap(lambda *one: penalty(params, *one))(x, *data)
        return jnp.mean(penalties), aux

    value, aux = _sharding.mean_of(mean, axis_name, has_aux=True)(params)
    return (value, aux) if has_aux else value

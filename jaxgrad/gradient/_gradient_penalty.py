"""Penalties on the input gradient of a critic."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree

__all__ = ["gradient_penalty"]


@jit("fun", "axis_name", non_negative=("target",))
def gradient_penalty(
    fun: LossFn, params: Params, x: Tree, *data: Any, target: Any = 1.0, axis_name: AxisName = None
) -> Array:
    r"""Penalise the input gradient of a critic that is far from a target norm, averaged over a batch.

    .. math:: \frac{1}{B} \sum_b \left(\lVert \nabla_x f(\theta, x_b) \rVert_2 - c\right)^2
              \qquad\text{or, without a target,}\qquad
              \frac{1}{B} \sum_b \lVert \nabla_x f(\theta, x_b) \rVert_2^2

    The first is the penalty of WGAN-GP with ``target=1.0``, where ``x`` lies between a real and a generated example;
    the second, ``target=None``, is R1 on real examples and R2 on generated ones. Both can be differentiated with
    respect to ``params``. Where a gradient is zero the derivative of its norm is taken to be zero, as torch takes
    it; the raw formula gives NaN.

    Args:
        fun: ``fun(params, x, *data) -> ()``, the critic on ONE example. Static: pass a named function.
        params: Pytree of arrays, the critic's parameters.
        x: Pytree of floating-point arrays with a leading batch axis.
        *data: Pytrees with the same leading axis, such as labels, one row an example; not differentiated.
        target: The norm ``c`` to be near to, a number of shape ``()``, zero or more, that may be traced; ``None`` for
            the plain square.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over the batch is that over
            all devices' batches; ``None``: over the device's own.

    Returns:
        The mean penalty, of shape ``()``, accumulated in float32 or wider.

    Raises:
        ValueError: If ``fun`` does not return a scalar on one example, the batch is empty or ragged, ``target`` is a
            negative Python number or has axes, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``x`` is no real floating-point array.

    Cost:
        One gradient over the batch; its own gradient with respect to ``params`` about 2.3.

    Example:
        >>> import jax.numpy as jnp
        >>> def critic(params, x):
        ...     return params["w"] @ x
        >>> params, batch = {"w": jnp.array([3.0, 4.0])}, jnp.ones((8, 2))
        >>> gradient_penalty(critic, params, batch).item(), gradient_penalty(critic, params, batch, target=None).item()
        (16.0, 25.0)

    References:
        Gulrajani et al. (2017), Improved training of Wasserstein GANs, NeurIPS, eq. 3.
        Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge?, ICML, eq. 9.
    """
    _check.differentiable(x=x)
    _check.batch((x, *data))
    if target is not None:
        _check.number(target, "target")
    critic = _check.scalar_loss(fun, "fun")

    def penalty(params: Params, x: Tree, *data: Any) -> Array:
        def at(x: Tree) -> Any:
            return critic(params, x, *data)

        slope = jax.grad(at)(_sharding.own(at, x))
        if target is None:
            return _tree.dot(slope, slope)
        norm = _tree.norm(slope)
        return (norm - jnp.asarray(target, norm.dtype)) ** 2

    def mean(params: Params) -> Array:
        return jnp.mean(jax.vmap(lambda *one: penalty(params, *one))(x, *data))

    return _sharding.mean_of(mean, axis_name)(params)

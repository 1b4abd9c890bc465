"""A weighted sum of per-example gradients."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad._uses._batch import problem_of, sum_with_weights
from jaxgrad._uses._explicit import laid_out

__all__ = ["weighted_sum"]


@overload
def weighted_sum(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    weights: ArrayLike,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def weighted_sum(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    weights: ArrayLike,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
@laid_out(lambda at: at.weights)
def weighted_sum(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    weights: ArrayLike,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Sum the gradients of the examples, each times its weight.

    .. math:: \sum_i w_i \nabla_\theta\, \ell(\theta, x_i)

    One backward pass whose cotangents are the weights: nothing is formed for a single example.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        weights: Of shape ``(B,)``, of any sign.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the sum is over all examples; ``None``: the
            device's own.

    Returns:
        The weighted sum, a tree like ``params``. With ``has_aux`` the pair of this and ``aux``, stacked along a leading
        axis of length ``B``, from the same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If ``weights`` is not one number an example, the leading axes differ or are empty, the loss is no
            scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, ``weights`` are no real numbers, or
            ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        One gradient of the batch, and its memory. Where the loss computes in 16 bits, or JAX cannot transpose it
        mapped over examples, that of `clipped_sum`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w @ x
        >>> batch = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> jaxgrad.per_example.weighted_sum(loss, jnp.ones(2), batch, weights=jnp.array([2.0, -1.0])).tolist()
        [2.0, -1.0]

    References:
        Ren et al. (2018), Learning to reweight examples for robust deep learning, arXiv:1803.09050, eq. 4.
    """
    problem = problem_of(loss_fn, params, batch, wrt, plan=False, axis_name=axis_name, has_aux=has_aux)
    _check.numbers_like(weights, "weights", 1.0)
    size, weights = _check.batch(batch), jnp.asarray(weights)
    if weights.shape != (size,):
        message = f"weights must have the shape ({size},), one an example; got {weights.shape}"
        raise ValueError(message)
    total, aux = sum_with_weights(problem, batch, weights)
    result = problem.rebuild(_sharding.sum_over(total, axis_name))
    return (result, aux) if has_aux else result

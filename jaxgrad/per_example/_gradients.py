"""One gradient for every example, stacked."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, Function, Params, T, Tree, Ts, Wrt
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._map_examples import map_examples, subset_of

__all__ = ["gradients"]


@overload
def gradients(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
) -> T: ...
@overload
def gradients(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt")
@laid_out(lambda at: at.rows)
def gradients(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
) -> Any:
    r"""Return the gradient of the loss of every example.

    .. math:: G_i = \nabla_\theta\, \ell(\theta, x_i)

    This materialises ``B`` copies of the parameters: for norms, clipped or weighted sums, inner products and moments
    the other functions of this family need far less.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.

    Returns:
        A tree like ``params`` with a leading axis of length ``B`` on every leaf. With ``has_aux`` the pair of this and
        ``aux``, stacked along a leading axis of length ``B``, from the same forward; inside of `jax.shard_map` it is
        the device's own.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        The FLOPs of one gradient of the batch, ``B * P`` numbers of memory and the traffic that goes with them.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x, y):
        ...     return 0.5 * (params["w"] * x - y) ** 2
        >>> params, x, y = {"w": jnp.array(2.0)}, jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])
        >>> jaxgrad.per_example.gradients(loss, params, x, y)["w"].tolist()
        [1.0, 15.0]
        >>> def loss_and_prediction(params, x, y):
        ...     return loss(params, x, y), params["w"] * x
        >>> rows, predictions = jaxgrad.per_example.gradients(loss_and_prediction, params, x, y, has_aux=True)
        >>> predictions.tolist()
        [2.0, 6.0]

    References:
        Goodfellow (2015), Efficient per-example gradient computations, arXiv:1510.01799.
    """
    subset = subset_of(loss_fn, params, batch, wrt, has_aux=has_aux)

    def one(active: Params, *example: Any) -> tuple[Params, Tree]:
        gradient, aux = jax.grad(subset.pair, has_aux=True)(active, *example)
        return subset.embed(gradient), aux

    rows, aux = map_examples(one, subset.active, batch)
    return (rows, aux) if has_aux else rows

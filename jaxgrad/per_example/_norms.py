"""The norm of every example's gradient."""

from typing import Any

import jax

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, LossFn, Params, Wrt
from jaxgrad.per_example._one import map_examples, subset_of

__all__ = ["norms"]


@jit("loss_fn", "per_leaf", "wrt")
def norms(loss_fn: LossFn, params: Params, *batch: Any, per_leaf: bool = False, wrt: Wrt = None) -> Array:
    r"""Return the Euclidean norm of the gradient of every example.

    .. math:: n_i = \lVert \nabla_\theta\, \ell(\theta, x_i) \rVert_2

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        per_leaf: Whether to return the norms of every leaf apart.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.

    Returns:
        The norms, of shape ``(B,)``; with ``per_leaf`` a tree like ``params`` of such arrays.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient of the batch and ``B * P`` numbers of memory.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, x):
        ...     return params["w"] @ x
        >>> norms(loss, {"w": jnp.ones(2)}, jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]

    References:
        Goodfellow (2015), Efficient per-example gradient computations, arXiv:1510.01799.
    """
    subset = subset_of(loss_fn, params, batch, wrt)

    def one(active: Params, *example: Any) -> Any:
        gradient = subset.embed(jax.grad(subset.fun)(active, *example))
        return jax.tree.map(_tree.norm, gradient) if per_leaf else _tree.norm(gradient)

    return map_examples(one, subset.active, batch)

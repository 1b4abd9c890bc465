"""One gradient for every example, stacked."""

from typing import Any

import jax

from jaxgrad._jit import jit
from jaxgrad._types import LossFn, Params, Wrt
from jaxgrad.per_example._explicit import laid_out
from jaxgrad.per_example._one import map_examples, subset_of

__all__ = ["gradients"]


@jit("loss_fn", "wrt")
@laid_out(lambda at: at.rows)
def gradients(loss_fn: LossFn, params: Params, *batch: Any, wrt: Wrt = None) -> Params:
    r"""Return the gradient of the loss of every example.

    .. math:: G_i = \nabla_\theta\, \ell(\theta, x_i)

    This materialises ``B`` copies of the parameters: for norms, clipped or weighted sums, inner products and moments
    the other functions of this family need far less.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.

    Returns:
        A tree like ``params`` with a leading axis of length ``B`` on every leaf.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        The FLOPs of one gradient of the batch, ``B * P`` numbers of memory and the traffic that goes with them.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, x, y):
        ...     return 0.5 * (params["w"] * x - y) ** 2
        >>> gradients(loss, {"w": jnp.array(2.0)}, jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0]))["w"].tolist()
        [1.0, 15.0]

    References:
        Goodfellow (2015), Efficient per-example gradient computations, arXiv:1510.01799.
    """
    subset = subset_of(loss_fn, params, batch, wrt)
    return map_examples(
        lambda active, *example: subset.embed(jax.grad(subset.fun)(active, *example)), subset.active, batch
    )

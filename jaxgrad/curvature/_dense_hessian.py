"""The whole Hessian of a loss as one matrix."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, LossFn, Params, Wrt

__all__ = ["dense_hessian"]


@jit("loss_fn", "max_bytes", "wrt", "chunk")
def dense_hessian(
    loss_fn: LossFn,
    params: Params,
    *data: Any,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    chunk: int | None = None,
) -> Array:
    r"""Form the Hessian of a loss as one symmetric matrix. For small problems.

    .. math:: H_{ij} = \frac{\partial^2 L}{\partial\theta_i \, \partial\theta_j}

    with :math:`\theta` the leaves of ``params`` in tree order, each raveled in C order.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        max_bytes: The largest matrix to form, in bytes.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        chunk: How many rows are computed at once, all where it is ``None``. It need not divide ``P``.

    Returns:
        The ``(P, P)`` matrix over the leaves that count.

    Raises:
        ValueError: If the matrix would be larger than ``max_bytes``, the loss is no scalar, ``wrt`` selects
            nothing, or ``chunk`` is below 1.
        TypeError: If a leaf that counts is no real floating-point array, or ``chunk`` no Python integer.

    Cost:
        ``P`` Hessian-vector products in one vectorised program, ``P * P`` numbers of memory and ``P`` times the
        memory of a gradient, or ``chunk`` times with chunks.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params):
        ...     return params["a"] ** 2 * params["b"]
        >>> dense_hessian(loss, {"a": jnp.array(3.0), "b": jnp.array(5.0)}).tolist()
        [[10.0, 6.0], [6.0, 0.0]]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 3.
    """
    subset = _tree.restrict(_check.scalar_loss(loss_fn), params, wrt)
    _check.differentiable(params=subset.active)
    flat, unravel = ravel_pytree(subset.active)
    needed = flat.size**2 * flat.dtype.itemsize
    if needed > max_bytes:
        message = (
            f"the dense Hessian of {flat.size} parameters takes {needed:,} bytes, more than max_bytes={max_bytes:,};"
            " use curvature.hvp for products with it, or choose fewer leaves with wrt="
        )
        raise ValueError(message)
    own = lambda x: subset.fun(unravel(x), *data)  # noqa: E731 - the loss of the flat vector
    if chunk is None:
        return jax.hessian(own)(flat)
    # what products share is computed once, outside of the loop
    product = jax.linearize(jax.grad(own), flat)[1]
    rows = jax.lax.map(product, jnp.eye(flat.size, dtype=flat.dtype), batch_size=_check.count(chunk, "chunk", least=1))
    return rows.T

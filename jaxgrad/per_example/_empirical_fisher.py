"""The empirical Fisher matrix, and its product with a vector."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Wrt
from jaxgrad.per_example._engine._batch import problem_of, sum_with_weights
from jaxgrad.per_example._explicit import laid_out
from jaxgrad.per_example._one import map_examples, subset_of
from jaxgrad.per_example._slopes import directional_derivatives

__all__ = ["empirical_fisher", "empirical_fisher_product"]


@jit("loss_fn", "max_bytes", "wrt", "axis_name")
@laid_out(lambda at: at.single)
def empirical_fisher(
    loss_fn: LossFn, params: Params, *batch: Any, max_bytes: int = 2**30, wrt: Wrt = None, axis_name: AxisName = None
) -> Array:
    r"""Form the mean outer product of the per-example gradients as one matrix. For small problems.

    .. math:: F = \frac{1}{B} \sum_i g_i g_i^\top = \frac{1}{B} G^\top G, \qquad
              g_i = \nabla_\theta\, \ell(\theta, x_i)

    It is the Fisher matrix's empirical stand-in, with the labels of the data; the two differ away from the optimum.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        max_bytes: The most memory to take, in bytes, for the matrix and the ``B`` gradients together.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the mean is over all examples; ``None``: the
            device's own.

    Returns:
        The symmetric positive semi-definite ``(P, P)`` matrix over the leaves that count, in tree order, each
        raveled in C order.

    Raises:
        ValueError: If the matrix would be too large, the leading axes differ or are empty, the loss is no scalar, or
            ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient of the batch, ``P * (P + B)`` numbers of memory, ``2 B P * P`` operations.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return w @ x
        >>> empirical_fisher(loss, jnp.ones(2), jnp.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
        [[2.5, 0.5], [0.5, 0.5]]

    References:
        Kunstner, Balles and Hennig (2019), Limitations of the empirical Fisher approximation, arXiv:1905.12558, eq. 3.
    """
    subset = subset_of(loss_fn, params, batch, wrt, axis_name)
    size, examples = sum(leaf.size for leaf in jax.tree.leaves(subset.active)), _check.batch(batch)
    itemsize = _tree.accumulator(*(leaf.dtype for leaf in jax.tree.leaves(subset.active))).itemsize
    needed = size * (size + examples) * itemsize
    if needed > max_bytes:
        message = (
            f"the empirical Fisher matrix of {size} parameters over {examples} examples takes {needed:,} bytes, more"
            f" than max_bytes={max_bytes:,}; use per_example.empirical_fisher_product for products with it, or choose"
            " fewer leaves with wrt="
        )
        raise ValueError(message)
    rows = map_examples(lambda active, *example: jax.grad(subset.fun)(active, *example), subset.active, batch)
    # in the widest dtype: leaves may differ, and 16-bit entries overflow when they are squared
    kept = _tree.accumulator(*(leaf.dtype for leaf in jax.tree.leaves(rows)))
    flat = jnp.concatenate([leaf.reshape(examples, -1).astype(kept) for leaf in jax.tree.leaves(rows)], axis=1)
    return _sharding.mean_over(flat.T @ flat / examples, axis_name)


@jit("loss_fn", "wrt", "axis_name")
@laid_out(lambda at: at.weights)
def empirical_fisher_product(
    loss_fn: LossFn, params: Params, vector: Params, *batch: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> Params:
    r"""Multiply the empirical Fisher matrix by a vector, without the matrix and without per-example gradients.

    .. math:: F v = \frac{1}{B} \sum_i g_i \, (g_i \cdot v)

    The inner products are one directional derivative of the losses, and the sum is one gradient weighted by them.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function.
        params: Pytree of floating-point arrays.
        vector: Pytree with the structure, shapes and dtypes of ``params``.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the mean is over all examples; ``None``: the
            device's own.

    Returns:
        ``F v``, with the structure, shapes and dtypes of ``params``; zero on leaves that do not count.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the leading axes differ or are empty, the loss is no
            scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        About 5/3 of a gradient of the batch, and its memory; more for a loss with a ``jax.custom_vjp``, see `project`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return w @ x
        >>> points = jnp.array([[2.0, 0.0], [1.0, 1.0]])
        >>> empirical_fisher_product(loss, jnp.ones(2), jnp.array([1.0, 1.0]), points).tolist()
        [3.0, 1.0]

    References:
        Kunstner, Balles and Hennig (2019), Limitations of the empirical Fisher approximation, arXiv:1905.12558, eq. 3.
    """
    problem = problem_of(loss_fn, params, batch, wrt, plan=False, axis_name=axis_name)
    _check.mirrors(params=params, vector=vector)
    along, leaves = _sharding.alike(problem.pick(_sharding.replicated(vector, axis_name)), problem.leaves)
    problem = problem._replace(leaves=leaves)
    slopes = directional_derivatives(problem, batch)(along)
    product = _tree.scale(sum_with_weights(problem, batch, slopes), 1 / slopes.size)
    return problem.rebuild(_sharding.mean_over(product, axis_name))

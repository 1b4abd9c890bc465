"""The empirical Fisher matrix, and its product with a vector."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad._uses._batch import problem_of, sum_with_weights
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._map_examples import map_examples, subset_of
from jaxgrad._uses._slopes import from_slopes

__all__ = ["empirical_fisher", "empirical_fisher_product"]


@overload
def empirical_fisher(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    max_bytes: int = 2**30,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def empirical_fisher(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    max_bytes: int = 2**30,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit("loss_fn", "max_bytes", "has_aux", "wrt", "axis_name")
@laid_out(lambda at: at.single)
def empirical_fisher(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    max_bytes: int = 2**30,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Form the mean outer product of the per-example gradients as one matrix. For small problems.

    .. math:: F = \frac{1}{B} \sum_i g_i g_i^\top = \frac{1}{B} G^\top G, \qquad
              g_i = \nabla_\theta\, \ell(\theta, x_i)

    It is the Fisher matrix's empirical stand-in, with the labels of the data; the two differ away from the optimum.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        max_bytes: The most memory to take, in bytes, for the matrix and the ``B`` gradients together.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the mean is over all examples; ``None``: the
            device's own.

    Returns:
        The symmetric positive semi-definite ``(P, P)`` matrix over the leaves that count, in tree order, each raveled
        in C order. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of length ``B``, from
        the same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If the matrix would be too large, the leading axes differ or are empty, the loss is no scalar, or
            ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient of the batch, ``P * (P + B)`` numbers of memory, ``2 B P * P`` operations.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w @ x
        >>> jaxgrad.per_example.empirical_fisher(loss, jnp.ones(2), jnp.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
        [[2.5, 0.5], [0.5, 0.5]]

    References:
        Kunstner, Balles and Hennig (2019), Limitations of the empirical Fisher approximation, arXiv:1905.12558, eq. 3.
    """
    subset = subset_of(loss_fn, params, batch, wrt, axis_name, has_aux)
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
    rows, aux = map_examples(jax.grad(subset.pair, has_aux=True), subset.active, batch)
    # in the widest dtype: leaves may differ, and 16-bit entries overflow when they are squared
    kept = _tree.accumulator(*(leaf.dtype for leaf in jax.tree.leaves(rows)))
    flat = jnp.concatenate([leaf.reshape(examples, -1).astype(kept) for leaf in jax.tree.leaves(rows)], axis=1)
    result = _sharding.mean_over(flat.T @ flat / examples, axis_name)
    return (result, aux) if has_aux else result


@overload
def empirical_fisher_product(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    vector: T,
    *batch: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def empirical_fisher_product(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    vector: T,
    *batch: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("loss_fn", "has_aux", "wrt", "axis_name")
@laid_out(lambda at: at.weights)
def empirical_fisher_product(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    vector: T,
    *batch: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply the empirical Fisher matrix by a vector, without the matrix and without per-example gradients.

    .. math:: F v = \frac{1}{B} \sum_i g_i \, (g_i \cdot v)

    The inner products are one directional derivative of the losses, and the sum is one gradient weighted by them.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        vector: Pytree with the structure, shapes and dtypes of ``params``.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the mean is over all examples; ``None``: the
            device's own.

    Returns:
        ``F v``, with the structure, shapes and dtypes of ``params``; zero on leaves that do not count. With ``has_aux``
        the pair of this and ``aux``, stacked along a leading axis of length ``B``, from the same forward; inside of
        `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the leading axes differ or are empty, the loss is no
            scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        About 5/3 of a gradient of the batch, and its memory; more for a loss with a ``jax.custom_vjp``, see
        `random_projection`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w @ x
        >>> points = jnp.array([[2.0, 0.0], [1.0, 1.0]])
        >>> jaxgrad.per_example.empirical_fisher_product(loss, jnp.ones(2), jnp.array([1.0, 1.0]), points).tolist()
        [3.0, 1.0]

    References:
        Kunstner, Balles and Hennig (2019), Limitations of the empirical Fisher approximation, arXiv:1905.12558, eq. 3.
    """
    problem = problem_of(loss_fn, params, batch, wrt, plan=False, axis_name=axis_name, has_aux=has_aux)
    _check.mirrors(params=params, vector=vector)
    along, leaves = _sharding.alike(problem.pick(_sharding.replicated(vector, axis_name)), problem.leaves)
    problem = problem._replace(leaves=leaves)
    slopes, _ = from_slopes(problem, batch, lambda slopes: slopes(along))
    total, aux = sum_with_weights(problem, batch, slopes)
    result = problem.rebuild(_sharding.mean_over(_tree.scale(total, 1 / slopes.size), axis_name))
    return (result, aux) if has_aux else result

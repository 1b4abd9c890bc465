"""Inner products of per-example gradients."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax

from jaxgrad import _check
from jaxgrad._deprecated import renamed
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, Function, T, Ts, Wrt
from jaxgrad._uses._batch import OLD_MODES, Mode, problem_of
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._gradient_factors import gradient_factors
from jaxgrad._uses._inner_products import sum_of_products

__all__ = ["gram"]


@overload
def gram(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    other: tuple[*Ts] | None = None,
    mode: Mode = "auto",
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
) -> Array: ...
@overload
def gram(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    other: tuple[*Ts] | None = None,
    mode: Mode = "auto",
    has_aux: Literal[True],
    wrt: Wrt = None,
) -> tuple[Array, Aux]: ...
@renamed(mode=OLD_MODES)
@jit("loss_fn", "mode", "has_aux", "wrt")
@laid_out(lambda at: at.rows)
def gram(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    other: tuple[*Ts] | None = None,
    mode: Mode = "auto",
    has_aux: bool = False,
    wrt: Wrt = None,
) -> Any:
    r"""Return the inner products of the gradients of all pairs of examples.

    .. math:: K_{ij} = \nabla_\theta\, \ell(\theta, x_i) \cdot \nabla_\theta\, \ell(\theta, x'_j)

    It is the tangent kernel of the loss: the similarity of examples for attribution, for conflict between them and for
    the diversity of gradients.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        other: A tuple like ``batch`` with the second examples, of any length; ``None``: the batch itself.
        mode: ``"auto"``, ``"book-keeping"`` or ``"ghost"`` (the same here), or ``"vmap"``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.

    Returns:
        A matrix of shape ``(B, B')``. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of
        length ``B``, from the same forward; inside of `jax.shard_map` it is the device's own. It is that of ``batch``
        alone.

    Raises:
        ValueError: If ``other`` does not match ``batch``, the leading axes differ or are empty, the loss is no scalar,
            or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One backward pass a batch; for weights with one outer product an example ``B * B'`` products of factors, and
        ``2 B * B' * P`` operations on gradients that are formed for the others.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w @ x
        >>> jaxgrad.per_example.gram(loss, jnp.ones(2), jnp.array([[1.0, 0.0], [1.0, 1.0]])).tolist()
        [[1.0, 1.0], [1.0, 2.0]]

    References:
        Jacot, Gabriel and Hongler (2018), Neural tangent kernel, arXiv:1806.07572.
        Pruthi et al. (2020), Estimating training data influence by tracing gradient descent, arXiv:2002.08484, eq. 1.
    """
    problem = problem_of(loss_fn, params, batch, wrt, mode, has_aux=has_aux)
    first = gradient_factors(problem.plan, problem.leaves, batch)
    second = first if other is None else gradient_factors(problem.plan, problem.leaves, _like(batch, other))
    result = sum_of_products(problem.plan.leaves, first, second)
    return (result, first.aux) if has_aux else result


def _like(batch: tuple[Any, ...], other: Any) -> tuple[Any, ...]:
    """Check that a second batch has examples like those of the first.

    Raises:
        ValueError: If structure, shapes or dtypes differ beyond the leading axis.
    """
    other = tuple(other) if isinstance(other, list | tuple) else (other,)
    _check.batch(other)
    _check.mirrors(batch=jax.tree.map(lambda x: x[0], batch), other=jax.tree.map(lambda x: x[0], other))
    return other

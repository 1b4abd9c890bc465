"""Mean, second moment and variance of the gradients of a batch, entry by entry."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding
from jaxgrad._deprecated import renamed
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad._uses import _algebra
from jaxgrad._uses._batch import OLD_MODES, Mode, chunk_length, problem_of
from jaxgrad._uses._chunks import over_chunks
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._factors import Factors, OneHot, dtype_of_sum, wide
from jaxgrad._uses._gradient_factors import gradient_factors, weighted_sum
from jaxgrad._uses._plan import LeafPlan

__all__ = ["Moments", "moments"]


class Moments(NamedTuple, Generic[T]):
    """Moments over the examples of a batch, each a tree like ``params``."""

    mean: T
    """The gradient of the mean loss."""
    second_moment: T
    """The mean of the squared entries."""
    variance: T
    """The variance over the examples, with ``1 / B``."""


@overload
def moments(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Moments[T]: ...
@overload
def moments(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Moments[T], Aux]: ...
@renamed(mode=OLD_MODES)
@jit("loss_fn", "mode", "microbatch", "has_aux", "wrt", "axis_name")
@laid_out(lambda at: Moments(at.weights, at.weights, at.weights))
def moments(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return the mean, second moment and variance of every entry of the gradient over a batch.

    .. math:: m = \frac1B \sum_i g_i, \qquad s = \frac1B \sum_i g_i^2, \qquad v = \frac1B \sum_i (g_i - m)^2

    Where the gradient of a weight is one outer product, its squares are the outer product of the squares, and nothing
    is formed.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        mode: ``"auto"``, ``"book-keeping"`` or ``"ghost"`` (the same here), or ``"vmap"``.
        microbatch: How many examples are taken at once, the last chunk padded; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the moments are over all examples; ``None``: the
            device's own.

    Returns:
        The `Moments`. The variance is ``s - m**2``, not below zero: for a relative spread below the square root of the
        rounding unit its digits are noise. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis
        of length ``B``, from the same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, ``mode`` or ``microbatch`` is
            unknown, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        About 4/3 of a gradient of the batch; a chunk of gradients in memory for weights that are used at several
        positions.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w * x
        >>> [float(m) for m in jaxgrad.per_example.moments(loss, jnp.array(1.0), jnp.array([1.0, 3.0]))]
        [2.0, 5.0, 1.0]

    References:
        Dangel, Kunstner and Hennig (2020), BackPACK: packing more into backprop, arXiv:1912.10985, section 2.
    """
    problem = problem_of(loss_fn, params, batch, wrt, mode, axis_name=axis_name, has_aux=has_aux)
    size = _check.batch(batch)

    def step(chunk: Any, real: Array) -> tuple[Tree, Tree]:
        factors = gradient_factors(problem.plan, problem.leaves, chunk)
        ones = real.astype(wide(factors.losses.dtype))
        sums = weighted_sum(problem.plan, factors, [ones] * len(problem.leaves))
        entries = zip(problem.plan.leaves, factors.entries, strict=True)
        return (sums, [_sum_of_squares(plan, entry, ones) for plan, entry in entries]), factors.aux

    (sums, squares), aux = over_chunks(step, batch, jnp.ones(size, bool), chunk_length(problem, microbatch, size))
    mean, second = (jax.tree.map(lambda x: x / size, _sharding.mean_over(part, axis_name)) for part in (sums, squares))
    variance = [jnp.maximum(s - jnp.square(m), 0) for s, m in zip(second, mean, strict=True)]
    result = Moments(*map(problem.rebuild, (mean, second, variance)))
    return (result, aux) if has_aux else result


def _sum_of_squares(plan: LeafPlan, entry: Any, scales: Array) -> Array:
    """Return the sum over the examples of a leaf's squared gradients."""
    if entry is None:
        return jnp.zeros(plan.shape, scales.dtype)
    if plan.method == "ghost" and plan.rows == 1:
        return _algebra.gradient_of_sum(plan, [_squared(entry)], scales)
    formed = _algebra.form(plan, entry) if plan.method == "ghost" else entry
    total = _algebra.sum_of(jnp.square(formed.astype(wide(formed.dtype))), scales)
    return total if plan.method == "tap" else _algebra.leaf_of(plan, total)


def _squared(factors: list[Factors]) -> Factors:
    """Square the factors of a single outer product, in the dtype of sums: 16 bits would overflow at 256."""
    (one,), kept = factors, dtype_of_sum(factors)
    return Factors(*(x if isinstance(x, OneHot) else jnp.square(x.astype(kept)) for x in one))

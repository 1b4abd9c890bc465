"""The gradient from pairs of values at opposite shifts: evolution strategies, of full or of low rank."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Key, T, Tree, Ts, Wrt
from jaxgrad.shift._averages import Estimate
from jaxgrad.shift._samples import Draws
from jaxgrad.shift._values import Values

__all__ = ["evolution_gradient"]


@overload
def evolution_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    rank: int | None = None,
    chunk: int | None = None,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def evolution_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    rank: int | None = None,
    chunk: int | None = None,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def evolution_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    rank: int | None = None,
    chunk: int | None = None,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Estimate[T]: ...
@overload
def evolution_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    rank: int | None = None,
    chunk: int | None = None,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Estimate[T], Aux]: ...
@jit(
    "loss_fn",
    "has_aux",
    "num_samples",
    "rank",
    "chunk",
    "full_output",
    "wrt",
    "axis_name",
    positive=("scale",),
)
def evolution_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: bool = False,
    key: Key | None = None,
    num_samples: int | None = None,
    rank: int | None = None,
    chunk: int | None = None,
    full_output: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Estimate a gradient from the values of a loss at opposite shifts: antithetic evolution strategies.

    .. math:: \hat g = \frac{1}{2 K \sigma^2} \sum_{k=1}^K \bigl(L(w + a_k) - L(w - a_k)\bigr)\, a_k

    Nothing is differentiated. The estimate has the unit of a gradient, whatever ``scale`` is: for normal shifts it is
    that of the smoothed loss, without bias. With ``rank`` a matrix is shifted by :math:`\sigma A B^\top / \sqrt r`, by
    thin products in the loss as it stands, as in `expected_gradient`. The entries of such a shift have the same
    variance and no correlation, so that the estimate tends to the gradient as ``scale`` does to zero, with an error of
    the order of :math:`\sigma^2`, and is exact on average for a quadratic. The shifts are never formed, and what they
    add up to is one tree of weights. The loss descends against the estimate.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shifts: Shifts of the standard deviation ``scale``, along a new leading axis of length ``K`` of every leaf, from
            `random_shifts` or `low_rank_shifts`; leaves that are left out get zeros. ``None``: they are drawn.
        *data: Pytrees handed on to ``loss_fn``, the same at every shift.
        scale: The standard deviation of every entry of the shifts, a positive number or a traced scalar.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        key: Random key that draws the shifts, one by one as `expected_gradient` does.
        num_samples: How many are drawn, ``K``: as many pairs of losses. An odd number works.
        rank: The rank of shifts that are drawn; ``None``: full.
        chunk: How many shifts are taken at once. ``None``: all where they are of low rank, otherwise one by one.
        full_output: Whether to return an `Estimate`, with a standard error and the mean loss.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others get zeros; shifts that are given move them too, shifts that are drawn do not.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The estimate, with the structure, shapes and dtypes of ``params``; it is summed in float32 at the least. With
        ``full_output`` an `Estimate`, whose error is that of a mean over pairs. With ``has_aux``, ``(result, aux)``:
        each leaf of the aux stacked along a leading axis of ``w + a`` and ``w - a`` in turns.

    Raises:
        ValueError: If ``shifts`` do not fit ``params``, both or none of ``shifts`` and ``key`` are given, ``scale`` is
            a Python number that is not positive, or has axes, ``full_output`` has one shift, the loss is no scalar,
            ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        ``2 K`` losses; shifts that are drawn are drawn twice. The memory of ``chunk`` shifted trees, or of low rank of
        ``2 chunk`` forward passes.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return w**3
        >>> jaxgrad.shift.evolution_gradient(loss, jnp.array(2.0), jnp.array([0.5]), scale=0.5).item()
        12.25

    References:
        Nesterov and Spokoiny (2017), Random gradient-free minimization of convex functions, Found. Comput. Math. 17;
        Salimans et al. (2017), Evolution strategies as a scalable alternative to reinforcement learning,
        arXiv:1703.03864, algorithm 1; Sarkar et al. (2025), Evolution strategies at the hyperscale, arXiv:2511.16652,
        equation 8.
    """
    _check.number(scale, "scale")
    scale = _sharding.replicated(scale, axis_name)
    draws = Draws(key, num_samples, "normal", scale, rank)
    problem = Values.of(loss_fn, params, shifts, data, draws, wrt, axis_name, has_aux, signs=(1, -1))
    losses, aux = problem.losses(chunk)
    weights = (losses[:, 0] - losses[:, 1]) / (2 * jnp.asarray(scale, losses.dtype) ** 2)
    return problem.result(weights, losses, aux, chunk, full_output)

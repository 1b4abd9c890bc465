"""The gradient of a loss that is smoothed by normal shifts, from its values alone: the score function."""

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

__all__ = ["score_function_gradient"]


@overload
def score_function_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    baseline: Literal["leave-one-out", "clean", "none"] = "leave-one-out",
    chunk: int | None = None,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def score_function_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    baseline: Literal["leave-one-out", "clean", "none"] = "leave-one-out",
    chunk: int | None = None,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def score_function_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    baseline: Literal["leave-one-out", "clean", "none"] = "leave-one-out",
    chunk: int | None = None,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Estimate[T]: ...
@overload
def score_function_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    baseline: Literal["leave-one-out", "clean", "none"] = "leave-one-out",
    chunk: int | None = None,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Estimate[T], Aux]: ...
@jit(
    "loss_fn",
    "has_aux",
    "num_samples",
    "baseline",
    "chunk",
    "full_output",
    "wrt",
    "axis_name",
    positive=("scale",),
)
def score_function_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shifts: Tree,
    *data: *Ts,
    scale: ArrayLike,
    has_aux: bool = False,
    key: Key | None = None,
    num_samples: int | None = None,
    baseline: Literal["leave-one-out", "clean", "none"] = "leave-one-out",
    chunk: int | None = None,
    full_output: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Estimate the gradient of a loss that is smoothed by normal shifts, from its values alone.

    .. math:: \nabla_w\, \mathbb E\, L(w + a) = \mathbb E\left[L(w + a)\, \frac{a}{\sigma^2}\right] \approx
              \frac{1}{K} \sum_{k=1}^K \bigl(L(w + a_k) - b_k\bigr) \frac{a_k}{\sigma^2}, \qquad
              a_k \sim \mathcal N(0, \sigma^2 I)

    Nothing is differentiated: the loss may be a count, a rounded number, the return of a game. The estimate is that of
    the smoothed loss, without bias for any baseline ``b`` that does not depend on its own shift; a good one takes away
    most of the variance, which is large: it grows with the number of parameters (`evolution_gradient`, whose pairs of
    shifts cancel what is even, has less; `expected_gradient` far less, where there is a derivative).

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shifts: Normal shifts with the standard deviation ``scale``, along a new leading axis of length ``K`` of every
            leaf, for example from `random_shifts`; leaves that are left out get zeros. ``None``: they are drawn.
        *data: Pytrees handed on to ``loss_fn``, the same at every shift.
        scale: The standard deviation of the shifts, a positive number or a traced scalar; the gradient has the unit of
            a gradient, whatever it is.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        key: Random key that draws the shifts, one by one as `expected_gradient` does.
        num_samples: How many are drawn, ``K``.
        baseline: ``"leave-one-out"``: the mean of the losses at the other shifts; ``"clean"``: the loss at ``w``;
            ``"none"``: zero.
        chunk: How many shifts are taken at once; ``None``: one by one.
        full_output: Whether to return an `Estimate`, with a standard error and the mean loss.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others get zeros; shifts that are given move them too, shifts that are drawn do not.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The estimate, with the structure, shapes and dtypes of ``params``; it is summed in float32 at the least. With
        ``full_output`` an `Estimate`. With ``has_aux``, ``(result, aux)``: each leaf of the aux stacked along a leading
        axis of shifts.

    Raises:
        ValueError: If ``shifts`` do not fit ``params``, both or none of ``shifts`` and ``key`` are given, ``scale`` is
            a Python number that is not positive, or has axes, ``baseline`` is another word, the baseline
            ``"leave-one-out"`` or ``full_output`` has one shift, the loss is no scalar, ``wrt`` selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        ``K`` losses, and one more for the baseline ``"clean"``; shifts that are drawn are drawn twice. The memory of
        ``chunk`` shifted trees.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return w**2
        >>> estimate = jaxgrad.shift.score_function_gradient(loss, jnp.array(3.0), jnp.array([-0.5, 0.5]), scale=0.5)
        >>> estimate.item()
        12.0

    References:
        Williams (1992), Simple statistical gradient-following algorithms for connectionist reinforcement learning,
        Machine Learning 8; Mohamed, Rosca, Figurnov and Mnih (2020), Monte Carlo gradient estimation in machine
        learning, JMLR 21, section 4; Kool, van Hoof and Welling (2019), Buy 4 REINFORCE samples, get a baseline for
        free!, ICLR workshop.
    """
    _check.choice(baseline, "baseline", ("leave-one-out", "clean", "none"))
    _check.number(scale, "scale")
    scale = _sharding.replicated(scale, axis_name)
    draws = Draws(key, num_samples, "normal", scale, None)
    problem = Values.of(loss_fn, params, shifts, data, draws, wrt, axis_name, has_aux, signs=(1,))
    if baseline == "leave-one-out" and problem.samples.number < 2:
        message = "baseline='leave-one-out' asks for two shifts or more; got 1: pass baseline='clean' or 'none'"
        raise ValueError(message)
    losses, aux = problem.losses(chunk)
    weights = (losses[:, 0] - _baseline(problem, losses[:, 0], baseline)) / jnp.asarray(scale, losses.dtype) ** 2
    return problem.result(weights, losses, aux, chunk, full_output)


def _baseline(problem: Values, losses: Array, baseline: str) -> Any:
    """Return what is subtracted from the loss at each shift."""
    if baseline == "leave-one-out":
        return (jnp.sum(losses) - losses) / (losses.shape[0] - 1)
    if baseline == "clean":
        return problem.clean().astype(losses.dtype)
    return jnp.zeros((), losses.dtype)

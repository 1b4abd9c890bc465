"""Persistent evolution strategies: the gradient by a hyper-parameter from windows of one long training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, Params, Tree
from jaxgrad.meta._engine._bilevel import refuse_constant
from jaxgrad.meta._engine._descent import descend, first_of
from jaxgrad.meta._engine._rule import Rule
from jaxgrad.meta._engine._tasks import arguments
from jaxgrad.shift import random_shifts

__all__ = ["EvolutionGradient", "EvolutionState", "evolution_gradient"]


class EvolutionState(NamedTuple):
    """Where the trajectories stand between two windows, for `evolution_gradient` to go on from."""

    params: Params
    """Pairs along a first axis of length N, then the two trajectories of each along one of length 2."""
    opt_state: Tree
    """The optimizer's states, likewise."""
    shifts: Tree
    """The sum of the shifts that each pair has had in this trajectory, pairs along the leading axis."""


class EvolutionGradient(NamedTuple):
    """An estimate by `evolution_gradient`, and what the next window starts from."""

    estimate: Tree
    """Like ``hyper``: the mean over the pairs."""
    standard_error: Tree
    """Of every entry of it; NaN for one pair."""
    value: Array
    """The mean of the outer loss over all trajectories."""
    state: EvolutionState
    """Hand it on for the next window of the same trajectory."""


@jit("inner_loss", "outer_loss", "optimizer", "num_steps", "num_samples", "per_step", positive=("scale",))
def evolution_gradient(
    inner_loss: Callable[..., Any],
    outer_loss: Callable[..., Any],
    params: Params,
    hyper: Tree,
    inner_data: Tree,
    outer_data: Tree,
    *,
    optimizer: optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    num_steps: int,
    scale: ArrayLike,
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    state: EvolutionState | None = None,
    per_step: bool = False,
) -> EvolutionGradient:
    r"""Estimate the gradient of an outer loss by hyper-parameters, window by window, without bias.

    .. math:: \hat g = \frac{1}{2 N \sigma^2} \sum_{i=1}^{N} \Bigl(\sum_{\tau \le t} \xi_{i, \tau}\Bigr)
              \bigl(F_t(\lambda + \xi_{i, t}) - F_t(\lambda - \xi_{i, t})\bigr)

    A training of many steps is cut into windows of ``num_steps``. In each, every pair of trajectories goes on from its
    own parameters, one with the hyper-parameters shifted by a new :math:`\xi`, one with the opposite; F is the outer
    loss at the end of the window. The sum of all shifts of a pair stands before the difference, so that what earlier
    shifts did to the parameters is counted: over the windows of one training the estimates add up to an unbiased
    gradient of the sum of their outer losses, smoothed over the shifts. (With the last shift alone, truncated evolution
    strategies, or with a derivative through one window alone, the bias does not go away.) Nothing is differentiated by
    ``hyper``, which may also be what no derivative goes through.

    Args:
        inner_loss: ``inner_loss(params, hyper, *inner_data) -> ()``. Static: pass a named function. More in
            ``help(jaxgrad)``.
        outer_loss: ``outer_loss(params, hyper, *outer_data) -> ()``, at the end of a window. Static.
        params: Pytree of floating-point arrays, where a new trajectory starts; not used where ``state`` is given.
        hyper: Pytree of floating-point arrays.
        inner_data: The data of the inner loss, a plain tuple of its arguments or any other pytree as one.
        outer_data: That of the outer loss.
        optimizer: An optax transformation, or a function ``hyper -> transformation`` where hyper-parameters are its
            own. Static.
        num_steps: Inner steps in a window, a positive Python integer.
        scale: The standard deviation of the shifts, a number or a traced scalar, positive.
        key: Random key for the shifts; a new one for each window.
        num_samples: How many pairs of trajectories, a Python integer.
        samples: The shifts themselves in place of ``key`` and ``num_samples``: a tree like ``hyper`` with pairs along a
            leading axis, drawn with the standard deviation ``scale``.
        state: What the last window left; ``None`` starts a new trajectory, for ``samples`` or ``num_samples`` pairs.
        per_step: Whether ``inner_data`` has a leading axis of steps: each step has data of its own.

    Returns:
        `EvolutionGradient`: ``estimate``, ``standard_error``, ``value``, ``state``.

    Raises:
        ValueError: If ``num_steps`` or ``num_samples`` is not positive, ``samples`` or ``state`` do not mirror what
            they belong to, both or neither of ``key`` and ``samples`` are given, ``outer_loss`` does not depend on
            ``params`` or ``inner_loss`` not on ``hyper`` (and the optimizer is no function of it), or ``scale`` is a
            Python number that is not positive.
        TypeError: If a count is no Python integer, ``optimizer`` is no transformation or function of one, or a leaf is
            no real floating-point array.

    Cost:
        ``2 N num_steps`` inner gradients and ``2 N`` outer losses; the memory of 2 N trees of weights and states.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def inner(w, target):
        ...     return 0.5 * (w - target) ** 2
        >>> def outer(w, target):
        ...     return w
        >>> found = jaxgrad.meta.evolution_gradient(
        ...     inner, outer, jnp.array(0.0), jnp.array(1.0), (), (), optimizer=optax.sgd(0.5), num_steps=1,
        ...     scale=0.5, samples=jnp.array([0.5, -0.5])
        ... )
        >>> found.estimate.item(), found.value.item()
        (0.5, 0.5)

    References:
        Vicol, Metz and Sohl-Dickstein (2021), Unbiased gradient estimation in unrolled computation graphs with
        persistent evolution strategies, ICML, equation 11.
    """
    steps = _check.count(num_steps, "num_steps", least=1)
    _check.differentiable(params=params)
    _check.floating(hyper=hyper)
    shifts = _shifts(hyper, scale, key, num_samples, samples)
    pairs = _tree.leading(shifts)
    make = optimizer if hasattr(optimizer, "update") else None

    def optimizer_at(hyper: Tree) -> Any:
        built: Any = make if make is not None else optimizer(hyper)
        return _check.optimizer(built)

    if state is None:
        state = _start(params, hyper, shifts, optimizer_at)
    _check.mirrors(shifts=shifts, **{"state.shifts": state.shifts})
    first = first_of(inner_data, steps, "inner_data") if per_step else inner_data
    refuse_constant(
        lambda hyper: inner_loss(params, hyper, *arguments(first)),
        lambda params: outer_loss(params, hyper, *arguments(outer_data)),
        params,
        hyper,
        in_optimizer=make is None,
        by_value=True,
    )

    def run(moved: Tree, params: Params, opt_state: Any) -> tuple[Array, Params, Any]:
        def loss(params: Params, *data: Any) -> Any:
            return inner_loss(params, moved, *data)

        options: Any = {"optimizer": optimizer_at(moved), "num_steps": steps, "per_step": per_step}
        after = descend(loss, params, inner_data, memory="unrolled", opt_state=opt_state, **options)
        value = _check.real_scalar(outer_loss(after.params, moved, *arguments(outer_data)), "outer_loss")
        return value, after.params, after.opt_state

    def of_pair(shift: Tree, params: Params, opt_state: Any) -> Any:
        both = jax.tree.map(lambda h, s: jnp.stack([h + s.astype(h.dtype), h - s.astype(h.dtype)]), hyper, shift)
        return jax.vmap(run)(both, params, opt_state)

    values, params, opt_state = jax.vmap(of_pair)(shifts, state.params, state.opt_state)
    total = _tree.add(state.shifts, shifts)
    terms = jax.tree.map(lambda s: _times(s, (values[:, 0] - values[:, 1]) / (2 * jnp.asarray(scale) ** 2)), total)
    estimate = jax.tree.map(lambda rows, h: rows.mean(0).astype(h.dtype), terms, hyper)
    spread = jax.tree.map(lambda rows: rows.std(0, ddof=1) / pairs**0.5 if pairs > 1 else rows[0] * jnp.nan, terms)
    return EvolutionGradient(estimate, spread, values.mean(), EvolutionState(params, opt_state, total))


def _times(rows: Array, factors: Array) -> Array:
    """Multiply every row by its factor, in float32 or wider."""
    kept = _tree.accumulator(rows.dtype, factors.dtype)
    return rows.astype(kept) * factors.astype(kept).reshape(-1, *[1] * (rows.ndim - 1))


def _start(params: Params, hyper: Tree, shifts: Tree, optimizer_at: Callable[[Tree], Any]) -> EvolutionState:
    """Return the state before the first window: all trajectories at the same parameters."""
    pairs = _tree.leading(shifts)

    def copies(leaf: Any) -> Any:
        return jnp.broadcast_to(leaf, (pairs, 2, *jnp.shape(leaf)))

    opt_state = Rule(optimizer_at(hyper)).init(params)
    return EvolutionState(
        jax.tree.map(copies, params), jax.tree.map(copies, opt_state), jax.tree.map(jnp.zeros_like, shifts)
    )


def _shifts(hyper: Tree, scale: Any, key: Any, num_samples: int | None, samples: Tree) -> Tree:
    """Return the shifts of this window, drawn or given.

    Raises:
        ValueError: If there are both or neither, or those given do not mirror ``hyper``.
    """
    if samples is None:
        if key is None or num_samples is None:
            message = "give key and num_samples, or the shifts themselves as samples"
            raise ValueError(message)
        count = _check.count(num_samples, "num_samples", least=1)
        return random_shifts(hyper, key=key, num_shifts=count, scale=scale)
    if key is not None or num_samples is not None:
        message = "samples are the shifts themselves: give them without key and num_samples"
        raise ValueError(message)
    count = _check.same_leading(samples=samples)
    if count == 0:
        message = "samples holds no shift: its leading axis has length 0"
        raise ValueError(message)
    _check.mirrors(hyper=hyper, **{"samples[0]": _tree.take(samples, 0)})
    return samples

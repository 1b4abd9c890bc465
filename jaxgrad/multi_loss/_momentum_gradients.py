"""A momentum for each of several losses, of which one is differentiated a step, and a rule that combines them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._inner_products import of_rows
from jaxgrad.multi_loss._linearize import linearize
from jaxgrad.multi_loss._losses import L
from jaxgrad.multi_loss._rules import Rule, rule_of, weighted, weights_of

__all__ = ["MomentumState", "init_momentum", "momentum_gradients"]


class MomentumState(NamedTuple):
    """The momenta of several losses; start with `init_momentum`."""

    momenta: Tree
    """A tree like ``params`` with a leading axis of length ``K``: decayed sums of the gradients of each loss."""
    counts: Array
    """How often each loss has been differentiated."""
    step: Array
    """How many steps there were."""
    rule: Tree
    """The state of a weighting that has one."""


@jit("num_losses")
def init_momentum(params: Params, num_losses: int, *, rule: Tree = None) -> MomentumState:
    r"""Start the momenta of several losses at zero, for `momentum_gradients`.

    .. math:: m_k = 0, \qquad k = 1, \dots, K

    Args:
        params: Pytree of arrays. More in ``help(jaxgrad)``.
        num_losses: How many losses there are, ``K``. Static.
        rule: The state of a weighting that has one, from its ``init``; else ``None``.

    Returns:
        A `MomentumState`.

    Raises:
        ValueError: If ``num_losses`` is below 1.
        TypeError: If it is no Python integer.

    Cost:
        ``K`` numbers of memory for each of ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> state = jaxgrad.multi_loss.init_momentum({"w": jnp.ones(3)}, 2)
        >>> state.momenta["w"].shape, state.counts.tolist()
        ((2, 3), [0, 0])

    References:
        Liu, Chu and Thuerey (2025), ConFIG: towards conflict-free training of physics informed neural networks, ICLR,
        algorithm 2.
    """
    count = _check.count(num_losses, "num_losses", least=1)

    def still(leaf: Any) -> Array:
        return jnp.zeros_like(jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))))

    return MomentumState(jax.tree.map(still, params), jnp.zeros(count, jnp.int32), jnp.zeros((), jnp.int32), rule)


@overload
def momentum_gradients(
    losses_fn: Function[T, *Ts, L],
    params: T,
    state: MomentumState,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    decay: ArrayLike = 0.9,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, MomentumState]: ...
@overload
def momentum_gradients(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    state: MomentumState,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    decay: ArrayLike = 0.9,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[T, MomentumState], Aux]: ...
@jit(
    "losses_fn",
    "weighting",
    "aggregator",
    "has_aux",
    "wrt",
    "axis_name",
    checks={"decay": functools.partial(_check.share, below_one=True)},
)
def momentum_gradients(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    state: MomentumState,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    decay: ArrayLike = 0.9,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate ONE of several losses, in turn, and combine the momenta of all of them by a rule.

    .. math:: m_i \leftarrow \beta m_i + (1 - \beta)\, \nabla L_i(\theta), \qquad i = t \bmod K, \qquad
              \hat m_k = \frac{m_k}{1 - \beta^{n_k}}, \qquad
              \sum_{k=1}^K w_k\, \hat m_k, \quad w = \text{weighting}(\hat m \hat m^\top)

    M-ConFIG, with any rule: a step costs no more than one of plain training, whatever the number of losses. A loss
    whose turn has not come yet has a zero row. The result already is a momentum: give it to an optimizer without one,
    such as ``optax.sgd`` or ``optax.rmsprop``.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        state: From `init_momentum`, or from the step before.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        weighting: A rule of the Gram matrix, as in `aggregated_gradient`; one with a state finds it in ``state.rule``.
        aggregator: A rule of the rows, as there; ``lambda rows: rows`` of a named function hands out the momenta.
        options: Keyword arguments for the rule, traced, as there.
        decay: The decay of the momenta, :math:`\beta`, at least 0 and below 1.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        The combined gradient, a tree like ``params``, and the next state. Where the gradient of the loss is not finite
        the result is NaN, and nothing is learned from it: momenta and rule stay, and it is the next loss's turn. With
        ``has_aux``, ``((gradient, state), aux)``: the aux of the forward; inside of `jax.shard_map` it is the device's
        own, with ``axis_name`` too.

    Raises:
        ValueError: If ``state`` is not that of `init_momentum` for these losses, not exactly one of ``weighting`` and
            ``aggregator`` is given, ``state.rule`` is ``None`` for a rule with a state, the rule returns other
            than one weight for each loss, there is no loss, a loss is no scalar, ``decay`` is a number of Python that
            is negative or not below 1, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If the rule is no function, ``decay`` no real number, a loss is no real floating-point number, a leaf
            that counts is no real floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward and one backward of the loss whose turn it is, ``K^2`` multiplications and additions for each of
        ``params``, and ``K`` numbers of memory for each of them. The program has a branch for each loss.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return w.sum(), (w**2).sum()
        >>> def equal(gram):
        ...     return jnp.full(len(gram), 0.5)
        >>> w, state = jnp.array([1.0, 3.0]), jaxgrad.multi_loss.init_momentum(jnp.array([1.0, 3.0]), 2)
        >>> for _ in range(2):
        ...     gradient, state = jaxgrad.multi_loss.momentum_gradients(losses, w, state, weighting=equal)
        >>> [round(entry, 4) for entry in gradient.tolist()]
        [1.5, 3.5]

    References:
        Liu, Chu and Thuerey (2025), ConFIG: towards conflict-free training of physics informed neural networks, ICLR,
        algorithm 2 (M-ConFIG);
        Kingma and Ba (2015), Adam, ICLR, section 3 (the correction of the bias).
    """
    rule = rule_of(weighting, aggregator, options)
    _check.number(decay, "decay")
    params, state = _sharding.replicated((params, state), axis_name)
    subset = _tree.held(losses_fn, params, wrt)
    _check.differentiable(params=subset.active)
    losses = jax.eval_shape(lambda p, *d: _losses.checked(subset.fun, has_aux)(p, *d)[0], subset.active, *data)
    count = sum(leaf.size for leaf in jax.tree.leaves(losses))
    _check.mirrors(
        **{
            f"multi_loss.init_momentum(params, {count})": jax.eval_shape(
                lambda p: init_momentum(p, count, rule=state.rule if isinstance(state, MomentumState) else None), params
            ),
            "state": state,
        }
    )
    if rule.has_state and state.rule is None:
        message = (
            "a weighting with a state finds it in state.rule: start with"
            f" init_momentum(params, {count}, rule=weighting.init({count}))"
        )
        raise ValueError(message)
    momenta = subset.pick(state.momenta)

    def turn(k: int) -> Callable[[], tuple[list[Array], Any]]:
        def of_one() -> tuple[list[Array], Any]:
            start = linearize(subset.fun, subset.active, *data, axis_name=axis_name, has_aux=has_aux)
            return start.row(k), start.aux

        return of_one

    which = state.step % count
    slopes, aux = lax.switch(which, [turn(k) for k in range(count)])
    slope = jax.tree.unflatten(jax.tree.structure(subset.active), slopes)
    # a momentum that has held a NaN once holds it for ever, after the batch that an optimizer has skipped too
    sound = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in slopes]))
    counts = state.counts.at[which].add(sound.astype(state.counts.dtype))
    momenta = jax.tree.map(lambda m, g: _moved(m, g, which, decay, sound), momenta, slope)
    gradient, after = _combined(rule, jax.tree.map(lambda m: _corrected(m, counts, decay), momenta), state.rule)
    gradient = jax.tree.map(lambda g: jnp.where(sound, g, jnp.full_like(g, jnp.nan)), gradient)
    after = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, state.rule)
    whole = jax.vmap(subset.embed)(momenta)
    result = subset.embed(gradient), MomentumState(whole, counts, state.step + 1, after)
    return (result, aux) if has_aux else result


def _moved(momentum: Array, slope: Array, which: Array, decay: Any, sound: Array) -> Array:
    """Let one row of a leaf's momenta decay towards its gradient; it stays where that is not sound."""
    kept = _tree.accumulator(momentum.dtype)
    share = jnp.asarray(decay, kept)
    row = momentum[which].astype(kept)
    # the momenta may lie whole where the parameters lie in parts; they stay as they are
    new = _sharding.like(share * row + (1 - share) * slope.astype(kept), row)
    return momentum.at[which].set(jnp.where(sound, new, row).astype(momentum.dtype))


def _corrected(momentum: Array, counts: Array, decay: Any) -> Array:
    """Divide the rows of a leaf's momenta by how much of a mean they hold; those of no gradient yet stay zero."""
    kept = _tree.accumulator(momentum.dtype)
    held = 1 - jnp.asarray(decay, kept) ** counts.astype(kept)
    rows = momentum.astype(kept) / jnp.where(counts > 0, held, jnp.ones_like(held)).reshape(
        -1, *[1] * (momentum.ndim - 1)
    )
    return rows.astype(momentum.dtype)


def _combined(rule: Rule, rows: Tree, state: Tree) -> tuple[Tree, Tree]:
    """Combine rows that are there by a rule."""
    if rule.weighting is None:
        return rule.aggregator(rows, **rule.options), state
    weights, after = weights_of(rule, of_rows(rows), state)
    return jax.tree.map(lambda leaf: weighted(weights, leaf), rows), after

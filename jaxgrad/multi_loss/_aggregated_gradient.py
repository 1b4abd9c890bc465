"""One gradient from those of several losses, by a rule that weighs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp

from jaxgrad._jit import jit
from jaxgrad._types import Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.multi_loss._heads import Touches, shared_leaves, warn_of_unreached
from jaxgrad.multi_loss._linearize import start_at
from jaxgrad.multi_loss._losses import L
from jaxgrad.multi_loss._rows import blocks, checked_chunk
from jaxgrad.multi_loss._rules import Groups, by_rows, by_weights, check_state, groups_of, rule_of

__all__ = ["Aggregated", "aggregated_gradient"]


class Aggregated(NamedTuple):
    """What `aggregated_gradient` returns with ``full_output``."""

    gradient: Tree
    """A tree like ``params``."""
    losses: Tree
    """The losses, as the function returned them."""
    gram: Any
    """The inner products that the rule read, ``(K, K)``; with ``groups`` one for each of them; ``None`` where it read
    the rows."""
    weights: Any
    """The weights, ``(K,)``; with ``groups`` for each of them; ``None`` where the rule read the rows."""
    state: Any
    """The next state of the rule; with ``groups`` a tuple; ``None`` where it has none."""


@overload
def aggregated_gradient(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    groups: Groups = None,
    shared: Wrt = None,
    heads: Touches = None,
    chunk: int | None = None,
    full_output: Literal[False] = False,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def aggregated_gradient(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    groups: Groups = None,
    shared: Wrt = None,
    heads: Touches = None,
    chunk: int | None = None,
    full_output: Literal[True],
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Aggregated: ...
@overload
def aggregated_gradient(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    groups: Groups = None,
    shared: Wrt = None,
    heads: Touches = None,
    chunk: int | None = None,
    full_output: Literal[False] = False,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def aggregated_gradient(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    groups: Groups = None,
    shared: Wrt = None,
    heads: Touches = None,
    chunk: int | None = None,
    full_output: Literal[True],
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Aggregated, Aux]: ...
@jit(
    "losses_fn", "weighting", "aggregator", "groups", "shared", "heads", "chunk", "full_output", "has_aux", "wrt",
    "axis_name",
)  # fmt: skip
def aggregated_gradient(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    weighting: Any = None,
    aggregator: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    groups: Groups = None,
    shared: Wrt = None,
    heads: Touches = None,
    chunk: int | None = None,
    full_output: bool = False,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Turn the gradients of several losses into one by a rule: MGDA, UPGrad, PCGrad, or one of your own.

    .. math:: \sum_{k=1}^K w_k\, \nabla_\theta L_k(\theta), \qquad
              w = \text{weighting}(G), \qquad G_{k l} = \nabla_\theta L_k \cdot \nabla_\theta L_l

    The Gram matrix comes first, then the weights, then ONE backward of the weighted sum, all from one forward: no more
    than a leaf's gradients are held at a time. Of one or two losses the gradients are kept, and added up.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        weighting: ``weighting(gram, **options) -> (K,)``, a rule of this family or any function of the Gram matrix in
            JAX; or one with a state, a pair of functions ``init`` and ``update(gram, state, **options) -> (weights,
            state)``. Static: pass a named function.
        aggregator: In place of ``weighting``, a rule of the rows themselves: ``aggregator(rows, **options)`` takes the
            tree of `gradients` and returns one without the leading axis. Static.
        options: Keyword arguments for the rule that change from step to step, such as ``{"key": key}`` or
            ``{"preferences": preferences}``: traced, so a new one compiles nothing.
        state: The state of a ``weighting`` that has one, from its ``init`` or from the step before; with ``groups`` a
            tuple, one for each.
        groups: Weights by group of leaves: a tuple, list or dictionary of patterns or predicates, as ``wrt``. Leaves
            that no group names are one more group, the last.
        shared: Which leaves are the trunk, as ``wrt``: the rule sees their gradients alone, and any other leaf, the
            head of one loss, gets the gradient of its own loss as it is. ``None``: all leaves are shared.
        heads: Which leaves are the head of each loss, to have them checked, as in `gradients`.
        chunk: How many losses to pull back together, as in `gradients`.
        full_output: Whether to return the losses, the Gram matrix, the weights and the state too.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A tree like ``params``; with ``full_output`` an `Aggregated` of it. A loss whose gradient is not finite makes
        the result so: it is not dropped in silence. Gradients whose squares leave the range of their dtype, in float32
        norms above 1e19 or below 1e-19, are given to the stateless rules of this family in a unit in which they do not;
        one that is 2^-120 times as long as the longest then counts as zeros. A rule with a state, or of your own, reads
        their products as they are, infinite or zero. With ``has_aux``
        the pair of this and the aux of the one forward; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar, not exactly one of ``weighting`` and ``aggregator`` is
            given, a rule of the rows is given as ``weighting`` or one of the Gram matrix as ``aggregator``, a rule with
            a state comes without ``state`` or ``full_output``, or another with ``state``, the rule returns other than
            one weight for each loss, a leaf is named twice, two losses depend on a head, a pattern selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If the rule is no function, one of the losses, or one that makes a rule and has not been called,
            ``groups`` no tuple, list or dictionary, a loss no real floating-point number, a leaf that counts no real
            floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward, ``K + 1`` backwards (and one for each further group, and one of the heads alone with ``shared``),
        the products of `gram`, and the rule; of one or two losses ``K`` backwards. The memory is that of `gram`, and
        for two losses that of their gradients. With ``aggregator`` ``K`` backwards, and ``K`` numbers of memory for
        each of ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return w[0] + 2 * w[1], w[0] - w[1]
        >>> def to_unit_norms(gram):
        ...     return 1 / jnp.sqrt(jnp.diagonal(gram))
        >>> gradient = jaxgrad.multi_loss.aggregated_gradient(losses, jnp.ones(2), weighting=to_unit_norms)
        >>> [round(entry, 3) for entry in gradient.tolist()]
        [1.154, 0.187]

    References:
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS;
        Quinton and Rey (2024), Jacobian descent for multi-objective optimization, arXiv:2406.16232, section 6.
    """
    chunk = checked_chunk(chunk)
    rule = rule_of(weighting, aggregator, options)
    check_state(rule, state, full_output)
    subset, start = start_at(losses_fn, params, data, wrt, axis_name, has_aux)
    marks = shared_leaves(start, params, wrt, shared, heads)
    warn_of_unreached(start, params, wrt, None if shared is None else marks)
    parts = groups_of(params, wrt, marks, groups)
    if aggregator is None:
        found, beside = by_weights(rule, start, parts, blocks(start, chunk), state)
    else:
        found, beside = by_rows(rule, start, parts, blocks(start, chunk), subset.active), (None, None, None)
    if not all(marks):
        plain = start.combined(jnp.ones(start.count))
        found = [own if slope is None else slope for slope, own in zip(found, plain, strict=True)]
    gradient = subset.embed(jax.tree.unflatten(jax.tree.structure(subset.active), found))
    result = Aggregated(gradient, start.losses, *beside) if full_output else gradient
    return (result, start.aux) if has_aux else result

"""How a rule turns the gradients of several losses into one: by weights from their Gram matrix, or by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params, Tree, Wrt
from jaxgrad.multi_loss._inner_products import Products, inner_products
from jaxgrad.multi_loss._linearize import Linearized
from jaxgrad.multi_loss._places import refuse_no_aggregator, refuse_no_weighting
from jaxgrad.multi_loss._rows import Blocks, filled
from jaxgrad.multi_loss._units import weighed

__all__ = ["Groups", "Rule", "by_rows", "by_weights", "check_state", "groups_of", "rule_of", "weighted", "weights_of"]

KEPT = 2
"""Of so many losses the rows are kept and added up: for two it saves the sum's backward, 0.3 of the FLOPs, and takes
the memory of two trees; of more losses the rows would be most of the memory."""

Groups = Sequence[Wrt] | Mapping[str, Wrt] | None
"""Patterns or a predicate for each group of leaves."""

Slopes = list[Any]
"""What the rule makes of the gradients, by leaf; ``None`` on leaves that it does not see."""


class Rule(NamedTuple):
    """What the user has chosen."""

    weighting: Any
    """``weighting(gram) -> weights``, or a pair of functions ``init`` and ``update``; ``None``: the other one."""
    aggregator: Any
    """``aggregator(rows) -> tree``."""
    options: Mapping[str, Any]
    """Keyword arguments for either."""

    @property
    def has_state(self) -> bool:
        """Say whether the rule carries a state from step to step."""
        return callable(getattr(self.weighting, "update", None))


def rule_of(weighting: Any, aggregator: Any, options: Any) -> Rule:
    """Return the rule, after refusing what is none.

    Raises:
        ValueError: If not exactly one of the two is given, or one of the family's rules is given as the other.
        TypeError: If it is no function, one that makes a rule, or one of losses; or the options are no dictionary.
    """
    if (weighting is None) == (aggregator is None):
        given = "neither" if weighting is None else "both"
        message = (
            "give weighting=, a rule of the Gram matrix such as jaxgrad.multi_loss.mgda, or aggregator=, a rule of the"
            f" rows themselves; got {given}"
        )
        raise ValueError(message)
    if aggregator is None:
        refuse_no_weighting(weighting)
    else:
        refuse_no_aggregator(aggregator)
    rule = Rule(weighting, aggregator, {} if options is None else options)
    if not isinstance(rule.options, Mapping):
        message = f"options must be a dictionary of keyword arguments for the rule; got {_check.describe(options)}"
        raise TypeError(message)
    return rule


def check_state(rule: Rule, state: Tree, full_output: bool) -> None:
    """Refuse a rule with a state that is not given one, or cannot hand on the next, and a state of no rule.

    Raises:
        ValueError: If there is no state, or no place for it in what is returned, or the rule has none.
    """
    if state is not None and not rule.has_state:
        which = "aggregator" if rule.weighting is None else "weighting"
        message = (
            f"state must be None, since {which} is a function without a state; got {_check.describe(state)}. Leave it"
            " out, or give the weighting whose init it came from"
        )
        raise ValueError(message)
    if rule.has_state and (state is None or not full_output):
        message = (
            "a weighting with a state needs state=, from its init(num_losses) or from the step before, and"
            " full_output=True, whose result has the next one"
        )
        raise ValueError(message)


def weights_of(rule: Rule, products: Products, state: Tree) -> tuple[Array, Tree]:
    """Return the weights of the losses, and the next state of the rule.

    Raises:
        ValueError: If the rule does not return one number for each loss.
        TypeError: If they are no real floating-point numbers.
    """
    if rule.has_state:
        found = rule.weighting.update(products.gram(), state, **rule.options)
        if not isinstance(found, tuple) or len(found) != 2:
            message = f"weighting.update must return the pair (weights, state); got {_check.describe(found)}"
            raise TypeError(message)
        weights, state = found
    else:
        weights = weighed(rule.weighting, products, rule.options)
    if not _check.is_real_float(weights) or jnp.shape(weights) != products.roots.shape:
        message = (
            "weighting must return one weight for each loss, a real floating-point array of shape"
            f" ({products.roots.size},); got {_check.describe(weights)}"
        )
        raise (TypeError if not _check.is_real_float(weights) else ValueError)(message)
    return weights, state


@dataclass(frozen=True)
class Parts:
    """The groups of leaves."""

    places: list[list[int]]
    """Which of the leaves that count belong to each."""
    asked: bool
    """Whether the user has named any; else there is one, of all that are shared."""


def by_weights(
    rule: Rule, start: Linearized, parts: Parts, rows: list[Blocks], state: Any
) -> tuple[Slopes, tuple[Any, Any, Any]]:
    """Weigh the losses by their Gram matrix and pull the weighted sum back, group by group.

    Returns:
        The slopes, and the Gram matrix, the weights and the next state, or those of all groups.
    """
    found: Slopes = [None] * len(start.leaves)
    states = _states(state, len(parts.places)) if parts.asked and rule.has_state else [state] * len(parts.places)
    beside = []
    for places, before in zip(parts.places, states, strict=True):
        products = inner_products([rows[i] for i in places], start.count)
        weights, after = weights_of(rule, products, before)
        pulled = None if start.count <= KEPT else start.combined(weights)
        for i in places:
            found[i] = weighted(weights, filled(start, i, rows[i])) if pulled is None else pulled[i]
        beside.append((products.gram(), weights, after))
    if not parts.asked:
        return found, beside[0]
    grams, shares, after = zip(*beside, strict=True)
    return found, (jnp.stack(grams), jnp.stack(shares), after if rule.has_state else None)


def weighted(weights: Array, rows: Array) -> Array:
    """Return the weighted sum of the rows of a leaf; of 16 bits they are added up in float32."""
    kept = _tree.accumulator(rows.dtype)
    return jnp.tensordot(weights.astype(kept), rows.astype(kept), 1).astype(rows.dtype)


def by_rows(rule: Rule, start: Linearized, parts: Parts, rows: list[Blocks], active: Tree) -> Slopes:
    """Give the rule the rows themselves, group by group: a tree like the parameters where it gets all of them."""
    found: Slopes = [None] * len(start.leaves)
    for places in parts.places:
        whole = len(places) == len(found)
        structure: Any = jax.tree.structure(active if whole else places)
        given = structure.unflatten([filled(start, i, rows[i]) for i in places])
        made = rule.aggregator(given, **rule.options)
        like = structure.unflatten([start.leaves[i] for i in places])
        _check.mirrors(**{"params": like, "the result of aggregator": made})
        for i, slope in zip(places, jax.tree.leaves(made), strict=True):
            found[i] = slope
    return found


def groups_of(params: Params, wrt: Wrt, marks: list[bool], groups: Any) -> Parts:
    """Return which of the leaves that count and are shared belong to each group; the rest are one more.

    Raises:
        ValueError: If a leaf is in two groups, or a group names none of them.
        TypeError: If they are no tuple, list or dictionary: the letters of a pattern would be patterns.
    """
    shared = [i for i, mark in enumerate(marks) if mark]
    if groups is None:
        return Parts([shared], asked=False)
    if not isinstance(groups, Mapping | list | tuple):
        message = (
            f"groups must be a tuple, list or dictionary of patterns or predicates, one for each group; got {groups!r}"
        )
        raise TypeError(message)
    given = list(groups.values()) if isinstance(groups, Mapping) else list(groups)
    counts = _tree.selected(params, wrt)
    paths = [path for path, count in zip(_tree.leaf_paths(params), counts, strict=True) if count]
    every = [_tree.selected(params, group, "groups") for group in given]
    chosen = [[hit for hit, count in zip(hits, counts, strict=True) if count] for hits in every]
    twice = [paths[i] for i in shared if sum(hits[i] for hits in chosen) > 1]
    empty = [group for group, hits in zip(given, chosen, strict=True) if not any(hits[i] for i in shared)]
    if twice or empty:
        what = f"{', '.join(twice)} in more than one" if twice else f"{empty} select no leaf that counts and is shared"
        message = f"groups must name every leaf at most once, and one each at the least; {what}"
        raise ValueError(message)
    rest = [i for i in shared if not any(hits[i] for hits in chosen)]
    return Parts([[i for i in shared if hits[i]] for hits in chosen] + [rest] * bool(rest), asked=True)


def _states(state: Any, count: int) -> list[Any]:
    """Return the state of each group.

    Raises:
        ValueError: If there is not one for each.
    """
    if not isinstance(state, tuple) or len(state) != count:
        got = f"a tuple of {len(state)}" if isinstance(state, tuple) else _check.describe(state)
        message = f"state must be a tuple of {count} states, one for each group of leaves; got {got}"
        raise ValueError(message)
    return list(state)

"""What an optimizer's first step is made of: either side's update is computed again from torch's gradient.

A first step starts from empty moments, so that every rule is a direction made of the gradient, times a rate, less a
multiple of the weights. Which direction is searched; rate and decay are solved for. All that differs is told at once.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import (
    NAMED_FACTOR,
    OPTIMIZER_DECAYS,
    OPTIMIZER_EPSILONS,
    OPTIMIZER_SECOND_MOMENT,
    RECOGNISED_NORM,
)
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._known_functions import same, special_ratio
from jaxgrad.verify.report._records import Cause

__all__ = ["first_update", "named", "rule_of"]

STAGE, STATE = "update", "optimizer state"

MOST_NAMED = 4
"""How many leaves are named, before the number of the others."""

RULES = {"SGD": "sgd", "Adam": "adam", "AdamW": "adam", "Adamax": "adam", "RMSprop": "rmsprop", "Adagrad": "adagrad"}
"""The rules of the optimizers whose first step is a direction of the gradient, by torch's names."""

WORDS = {"sgd": "the gradient itself", "adam": "Adam's rule", "rmsprop": "RMSprop's rule", "adagrad": "Adagrad's rule",
         "sign": "the sign of the gradient"}  # fmt: skip

PLACES = {"outside": "outside of the root", "root": "under the root", "early": "before the correction of the moments"}


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What an update is made of."""

    form: str
    eps: float
    place: str
    share: float
    """What part of the squared gradient the second moment holds, before it is corrected."""
    start: float
    """What the second moment starts from."""
    inside: float
    """The decay inside of the gradient."""

    def direction(self, gradient: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the direction of a first step."""
        g = gradient + self.inside * weights
        if self.form in ("sgd", "sign"):
            return g if self.form == "sgd" else np.sign(g)
        square = self.start + self.share * g**2
        eps = self.eps / np.sqrt(1 - OPTIMIZER_SECOND_MOMENT) if self.place == "early" else self.eps
        root = np.sqrt(square + eps) if self.place == "root" else np.sqrt(square) + eps
        return np.divide(g, root, out=np.zeros_like(g), where=root > 0)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One parameter, laid out as JAX has it."""

    path: str
    gradient: np.ndarray
    weights: np.ndarray
    theirs: np.ndarray
    ours: np.ndarray
    rate: float
    decay: float


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A rule that reproduces every update of one side, with the rate and the decay of every leaf."""

    rule: _Rule
    rates: tuple[float, ...]
    decays: tuple[float | None, ...]
    """Inside and outside of the gradient together; ``None`` of a leaf whose weights are all zero."""


def first_update(bound: Any, theirs: Any, before: dict[str, Any], want: Any, got: Any) -> list[Cause]:
    """Return everything in which the rules of two first steps differ; nothing if either side follows no known rule.

    Args:
        bound: The pair.
        theirs: torch's training, after one step.
        before: The weights before the step, by JAX path.
        want: torch's stages.
        got: JAX's, from torch's gradient.
    """
    leaves = _leaves(bound, theirs, before, want, got)
    start = rule_of(theirs.optimizer)
    if not leaves or start is None:
        return []
    reference = _fit(leaves, [x.theirs for x in leaves], start)
    if reference is None:
        return []
    rules = _near(start, {group.get("weight_decay", 0.0) for group in theirs.optimizer.param_groups})
    fits = (_fit(leaves, [x.ours for x in leaves], rule) for rule in rules)
    mine = next((fit for fit in fits if fit is not None), None)
    if mine is None:
        return []
    return _told(leaves, reference, mine, _length(theirs.optimizer), apart=_decays_apart(theirs, got))


def _length(optimizer: Any) -> float:
    """Return how long a first step is in multiples of the rate: Nesterov's counts the gradient once more."""
    group = optimizer.param_groups[0]
    return 1 + float(group.get("momentum", 0.0)) if group.get("nesterov") else 1.0


def _decays_apart(theirs: Any, got: Any) -> bool:
    """Say whether JAX's momentum holds the bare gradient, so that what decays the weights stands behind it."""
    labels = {label: label.removeprefix("trace of ") for label in got.get(STATE, {}) if label.startswith("trace of ")}
    held = {label: theirs.given[1][name] for label, name in labels.items() if name in theirs.given[1]}
    return bool(held) and all(same(np.asarray(got[STATE][label]), np.asarray(g)) for label, g in held.items())


def rule_of(optimizer: Any) -> _Rule | None:
    """Return the rule of a torch optimizer, or ``None`` of one whose first step is another."""
    form, group = RULES.get(type(optimizer).__name__), optimizer.param_groups[0]
    if form is None or group.get("maximize") or group.get("centered"):
        return None
    apart = type(optimizer).__name__ == "AdamW" or group.get("decoupled_weight_decay", False)
    inside = 0.0 if apart or form == "sgd" else float(group.get("weight_decay", 0.0))
    share = 1 - group["alpha"] if form == "rmsprop" else 1.0
    start = float(group.get("initial_accumulator_value", 0.0))
    return _Rule(form, float(group.get("eps", 0.0)), "outside", share, start, inside)


def _leaves(bound: Any, theirs: Any, before: dict[str, Any], want: Any, got: Any) -> list[_Leaf]:
    """Return the parameters that one tensor of torch fills, and that the loss reaches."""
    groups = {id(p): group for group in theirs.optimizer.param_groups for p in group["params"]}
    gradient = theirs.given[1]
    found = []
    for entry in bound.mapping.entries:
        path, names = entry.jax, entry.torch
        known = path in before and path in want[STAGE] and path in got[STAGE]
        if not known or len(names) != 1 or names[0] not in gradient or not gradient[names[0]].any():
            continue
        group = groups.get(id(theirs.params[names[0]]))
        if group is None:
            continue
        laid = np.asarray(bound.mapping.fill(gradient, [path])[path], np.float64)
        start, made, mine = (np.asarray(x[path], np.float64).ravel() for x in (before, want[STAGE], got[STAGE]))
        rate, decay = float(group["lr"]), float(group.get("weight_decay", 0.0))
        found.append(_Leaf(path, laid.ravel(), start, made, mine, rate, decay))
    return found


def _near(start: _Rule, decays: set[float]) -> Iterator[_Rule]:
    """Yield rules: torch's own first, then those with other settings, and the other rules last."""
    yield start
    insides = list(dict.fromkeys([start.inside, 0.0, *sorted(decays), *OPTIMIZER_DECAYS]))
    for form in dict.fromkeys([start.form, "adam", "sgd", "rmsprop", "adagrad", "sign"]):
        if form in ("sgd", "sign"):
            yield _Rule(form, 0.0, "outside", 1.0, 0.0, 0.0)
            continue
        shares = {"rmsprop": (start.share, 0.1, 0.01, 0.001)}.get(form, (1.0,))
        starts = {"adagrad": (start.start, 0.1, 0.0), "rmsprop": (0.0, 1.0)}.get(form, (0.0,))
        places = ("outside", "root", "early") if form == "adam" else ("outside", "root")
        for inside in insides:
            for eps in dict.fromkeys([start.eps, *OPTIMIZER_EPSILONS]):
                for place in places:
                    for share in dict.fromkeys(shares):
                        yield from (_Rule(form, eps, place, share, first, inside) for first in dict.fromkeys(starts))


def _fit(leaves: list[_Leaf], updates: list[np.ndarray], rule: _Rule) -> _Fit | None:
    """Solve for the rate and the decay of every leaf, or return ``None`` where a rule does not reproduce an update."""
    rates, decays = [], []
    for leaf, update in zip(leaves, updates, strict=True):
        direction, weights = rule.direction(leaf.gradient, leaf.weights), leaf.weights
        columns = [x for x in (direction, weights) if x.any()]
        if not direction.any() or len(update) < len(columns):
            return None
        sizes = [float(np.linalg.norm(x)) for x in columns]
        scaled = np.stack([x / size for x, size in zip(columns, sizes, strict=True)], 1)
        solved = np.linalg.lstsq(scaled, update)[0]
        if not same(scaled @ solved, update, RECOGNISED_NORM):
            return None
        rate = -float(solved[0]) / sizes[0]
        apart = -float(solved[1]) / sizes[1] if len(columns) == 2 else None
        rates.append(rate)
        decays.append(None if apart is None or not rate or len(update) < 3 else rule.inside + _rounded(apart / rate))
    return _Fit(rule, tuple(rates), tuple(decays))


def _rounded(decay: float) -> float:
    """Return a decay that was solved for, nothing where it is but rounding."""
    return 0.0 if abs(decay) <= NAMED_FACTOR else decay


def _told(leaves: list[_Leaf], theirs: _Fit, ours: _Fit, length: float, *, apart: bool) -> list[Cause]:
    """Name everything that differs between two fits.

    Args:
        leaves: The parameters.
        theirs: torch's fit.
        ours: JAX's.
        length: torch's first step in multiples of its rate.
        apart: Whether JAX decays the weights behind the momentum.
    """
    a, b = theirs.rule, ours.rule
    found = []
    if a.form != b.form:
        text = f"JAX's update follows {WORDS[b.form]}, torch's {WORDS[a.form]}."
        found.append(cause("optimizer-rule", text, "Use torch's optimizer in optax.", STAGE, proven=True))
    elif a.share != b.share:
        text = f"JAX's second moment takes {b.share:g} of the squared gradient, torch's {a.share:g}."
        fix = f"Give decay={1 - a.share:g}."
        found.append(cause("beta2", text, fix, STAGE, proven=True))
    if a.form == b.form and a.start != b.start:
        text = f"JAX's second moments start from {b.start:g}, torch's from {a.start:g}."
        found.append(cause("accumulator-start", text, f"Start from {a.start:g}.", STAGE, proven=True))
    if a.form == b.form and (a.eps, a.place) != (b.eps, b.place):
        text = f"JAX adds an epsilon of {b.eps:g} {PLACES[b.place]}, torch one of {a.eps:g} {PLACES[a.place]}."
        fix = f"Give eps={a.eps:g}{', with eps_in_sqrt=False' * (b.place == 'root')}."
        found.append(cause("optimizer-epsilon", text, fix, STAGE, proven=True))
    if apart and a.form == b.form == "sgd" and (decay := _behind_momentum(leaves, theirs, ours, length)):
        return found + decay + _rate(leaves, theirs, ours, length)
    return found + _decay(leaves, theirs, ours) + _rate(leaves, theirs, ours, length)


def _behind_momentum(leaves: list[_Leaf], theirs: _Fit, ours: _Fit, length: float) -> list[Cause]:
    """Name a decay that JAX takes off the weights as it is, where torch adds it to the gradient before the momentum."""
    found = [(leaf, t, o * mine * length / its) for leaf, t, o, its, mine in
             zip(leaves, theirs.decays, ours.decays, theirs.rates, ours.rates, strict=True)
             if t and o is not None and its]  # fmt: skip
    if not any(o for _, _, o in found):
        return []
    text = "torch adds the decay to the gradient before the momentum, JAX decays the weights behind it."
    fix = f"Move optax.add_decayed_weights({found[0][1]:.4g}) in front of optax.sgd, and so of its momentum."
    told = [cause("l2-decay", text, fix, STAGE, proven=True)]
    wrong = [(t, o) for _, t, o in found if abs(t - o) > NAMED_FACTOR * max(1, abs(t))]
    if wrong:
        text = f"JAX decays the weights by {wrong[0][1]:.4g} times torch's rate, torch by {wrong[0][0]:.4g}."
        told.append(cause("weight-decay", text, f"Give weight_decay={wrong[0][0]:.4g}.", STAGE, proven=True))
    return told


def named(paths: list[str]) -> str:
    """Return some leaves by name, and how many others there are."""
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return f"{', '.join(paths[:MOST_NAMED])}{more}"


def _decay(leaves: list[_Leaf], theirs: _Fit, ours: _Fit) -> list[Cause]:
    """Name a difference of the decays: of their place, of their size, or of what they reach."""
    both = [(leaf, t, o) for leaf, t, o in zip(leaves, theirs.decays, ours.decays, strict=True)
            if t is not None and o is not None]  # fmt: skip
    wrong = [(leaf, t, o) for leaf, t, o in both if abs(t - o) > NAMED_FACTOR * max(1, abs(t))]
    moved = [x.inside for x in (theirs.rule, ours.rule)]
    found = []
    if bool(moved[0]) != bool(moved[1]) and any(t and o for _, t, o in both):
        words = "inside of the gradient, JAX apart from it" if moved[0] else "apart from the gradient, JAX inside"
        found.append(cause("l2-decay", f"torch decays {words}.", "" if moved[0] else "Use optax.adamw.", STAGE,
                           proven=True))  # fmt: skip
    if not wrong:
        return found
    amounts = {round(t, 7) for _, t, _ in both}, {round(o, 7) for _, _, o in both}
    if max(map(len, amounts)) > 1:
        names = named([leaf.path for leaf, _, _ in wrong])
        text = f"JAX decays {names} by other factors than torch ({wrong[0][2]:.4g} for {wrong[0][1]:.4g})."
        return [*found, cause("decay-groups", text, "", STAGE, proven=True)]
    text = f"JAX decays the weights by {wrong[0][2]:.4g}, torch by {wrong[0][1]:.4g}."
    return [*found, cause("weight-decay", text, f"Give weight_decay={wrong[0][1]:.4g}.", STAGE, proven=True)]


def _rate(leaves: list[_Leaf], theirs: _Fit, ours: _Fit, length: float) -> list[Cause]:
    """Name a difference of the rates: of all leaves, or of some."""
    factors = [o / t if t else np.inf for t, o in zip(theirs.rates, ours.rates, strict=True)]
    wrong = [(leaf, f) for leaf, f in zip(leaves, factors, strict=True) if abs(f - 1) > NAMED_FACTOR]
    if not wrong:
        return []
    if len({round(f, 6) for f in factors}) > 1:
        names = named([leaf.path for leaf, _ in wrong])
        many = special_ratio(wrong[0][1], {})
        text = f"JAX takes {many} times torch's step for {names}: groups with rates of their own."
        return [cause("learning-rate", text, "Use optax.multi_transform.", STAGE, proven=True)]
    if length > 1 and abs(factors[0] * length - 1) <= NAMED_FACTOR:
        # a rate that is smaller by this factor would look the same
        text = f"only torch takes Nesterov's step: its first is {length:g} times as long."
        return [cause("nesterov", text, "Give both the same nesterov=.", STAGE)]
    text = f"JAX's rate is {special_ratio(factors[0], {})} times torch's."
    fix = f"Give learning_rate={theirs.rates[0] / length:.6g}."
    return [cause("learning-rate", text, fix, STAGE, proven=True)]

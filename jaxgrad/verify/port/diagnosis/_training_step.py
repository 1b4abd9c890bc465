"""Causes in a training step: the stage says where, the numbers say why."""

from typing import Any

import jax
import numpy as np

from jaxgrad.verify.judge import size
from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, ONE_FACTOR, ROUNDED, TORCH_CLIP_EPSILON
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._known_functions import ratio, same, special_ratio
from jaxgrad.verify.port.diagnosis._optimizer_rules import first_update, named
from jaxgrad.verify.report._records import Cause

__all__ = ["in_step"]


def in_step(bound: Any, tolerance: float) -> list[Cause]:
    """Take the first step once more, and explain every stage that differs by itself: each is given torch's gradient."""
    from jaxgrad.verify.port.quantities import _training_steps
    from jaxgrad.verify.port.quantities._jax import JaxQuantities

    theirs, ours = (
        _training_steps._Torch(bound, "float64"),
        _training_steps._Jax(bound, JaxQuantities(bound, "float64")),
    )
    before = {p: np.asarray(x) for p, x in _training_steps.flatten(ours.params).items()}
    want, got = theirs.step(), ours.step(given=theirs.given)
    wrong = {
        stage: {
            n: (np.asarray(got[stage][n]), np.asarray(want[stage][n]))
            for n in want[stage]
            if n in got[stage]
            and not _training_steps.relative_to_tree(got[stage][n], want[stage][n], want[stage]) <= tolerance
        }
        for stage in _training_steps.STAGES
    }
    found = _buffers(bound, theirs, wrong["buffers"], before, want) if wrong["buffers"] else []
    if wrong["clipped gradient"]:
        found += _clip(bound, theirs, wrong["clipped gradient"], before, want)
    return found + _of_optimizer(bound, theirs, wrong, before, want, got)


def _of_optimizer(bound: Any, theirs: Any, wrong: dict[str, Any], before: Any, want: Any, got: Any) -> list[Cause]:
    """Explain the update by its rule, all that differs at once; or by its pattern where it follows no known rule."""
    rule = first_update(bound, theirs, before, want, got) if wrong["update"] else []
    # a rate alone may be Nesterov's step or a schedule: the pattern tells
    rule = [] if [one.id for one in rule] == ["learning-rate"] else rule
    state = _state(bound, theirs, wrong["optimizer state"], before, want) if wrong["optimizer state"] else []
    if rule or state:
        told = {one.id for one in rule}
        # what the optimizer holds differs by a decay inside of the gradient too
        return rule + [one for one in state if one.id not in told and not (one.id in PATTERNS and rule)]
    return _update(bound, theirs, wrong["update"], before, want) if wrong["update"] else []


PATTERNS = ("l2-decay", "accumulator-start")
"""What a state shows of a decay or a start that the update's rule tells exactly."""


def _cause(name: str, text: str, mend: str, stage: str) -> list[Cause]:
    """Return one cause at a stage."""
    return [cause(name, text, mend, stage)]


def _factors(wrong: dict[str, Any]) -> list[float]:
    """Return the factor of every leaf that has one."""
    return [f for g, w in wrong.values() if (f := ratio(g, w)) is not None]


def _clip(bound: Any, theirs: Any, wrong: dict[str, Any], before: Any, want: Any) -> list[Cause]:
    """The epsilon of torch's norm clipping, another limit, clipping by value."""
    del bound, theirs, before
    factors = _factors(wrong)
    stage = "clipped gradient"
    if len(factors) == len(wrong) and np.ptp(factors) < ONE_FACTOR:
        f = factors[0]
        norm = float(np.sqrt(sum(np.sum(g**2) for g in want["gradient"].values())))
        if abs((f - 1) * norm - TORCH_CLIP_EPSILON) < ONE_FACTOR:
            text = f"torch divides by the norm plus 1e-6 (the norm is {norm:.3g}), optax by the norm."
            return _cause(
                "clip-epsilon", text, "Use jaxgrad.gradient.clip_by_global_norm, which has torch's rule.", stage
            )
        return _cause(
            "clip-limit",
            f"JAX's clipped gradient is {special_ratio(f, {})} times torch's.",
            "Clip to the same norm.",
            stage,
        )
    return _cause("clip-kind", "one side clips by the norm of everything and the other does not.", "Clip alike.", stage)


def _state(bound: Any, theirs: Any, wrong: dict[str, Any], _: Any, want: Any) -> list[Cause]:
    """Moments: decay inside of the gradient, another beta, a maximum of corrected moments, another start."""
    stage = "optimizer state"
    gradient, params = want["clipped gradient"], bound.torch.params
    found: dict[str, list[Cause]] = {}
    for label, (got, expected) in wrong.items():
        part, name = label.split(" of ", 1)
        if part not in found and (causes := _moment(theirs, part, name, got, expected, gradient, params)):
            found[part] = causes
    # what one moment shows of a decay the other shows too, as some other share
    causes = [one for same in found.values() for one in same]
    decay = [one for one in causes if one.id == "l2-decay"]
    if decay or causes:
        return decay[:1] or causes
    if _decays(theirs):
        return _l2(stage, theirs)
    if {n.split(" of ")[0] for n in wrong} <= {"nu", "sum_of_squares"}:
        return _cause("accumulator-start", "the second moments start at different values.",
                      "Set initial_accumulator_value (or initial_scale) to torch's.", stage)  # fmt: skip
    return []


def _moment(
    theirs: Any, part: str, name: str, got: np.ndarray, expected: np.ndarray, gradient: Any, params: Any
) -> list[Cause]:
    """Explain one moment of one parameter."""
    stage = "optimizer state"
    if part == "nu_max":
        return _cause("amsgrad", "optax takes the maximum of the bias-corrected moment, torch of the raw one.",
                      "There is no optax argument for torch's rule.", stage)  # fmt: skip
    factor = ratio(got, expected)
    if part in ("mu", "trace") and factor is None and name in params:
        inside = [ratio(x / _first(x, gradient[name]) - gradient[name], params[name]) for x in (got, expected)]
        if any(x is not None for x in inside) or _decays(theirs):
            return _l2(stage, theirs)
    if factor is None:
        return []
    beta = "beta1" if part == "mu" else "momentum" if part == "trace" else "beta2"
    text = f"{part} is {special_ratio(factor, {})} times torch's after one step: (1 - {beta}) differs."
    return _cause(beta, text, f"Give both the same {beta}.", stage)


def _first(array: np.ndarray, gradient: np.ndarray) -> float:
    """Return the part of the gradient that a moment takes in its first step, as the usual values have it."""
    size = float(np.linalg.norm(gradient)) or 1.0
    rough = float(np.linalg.norm(array)) / size
    return min((1.0, 0.1, 0.05, 0.01), key=lambda c: abs(c - rough))


def _decays(theirs: Any) -> bool:
    """Say whether torch's optimizer adds weight decay to the gradient."""
    group = theirs.optimizer.param_groups[0]
    return bool(group.get("weight_decay")) and not group.get("decoupled_weight_decay", False)


def _l2(stage: str, theirs: Any) -> list[Cause]:
    """Decay inside of the gradient on one side."""
    decay = theirs.optimizer.param_groups[0].get("weight_decay", 0)
    text = f"torch adds weight decay ({decay:g}) to the gradient before the moments, or JAX does and torch does not."
    rule = {"SGD": "sgd", "RMSprop": "rmsprop", "Adagrad": "adagrad"}.get(type(theirs.optimizer).__name__, "adam")
    mend = f"Write optax.chain(optax.add_decayed_weights({decay:g}), optax.{rule}(...)), the decay before the moments."
    return _cause("l2-decay", text, mend, stage)


def _update(bound: Any, theirs: Any, wrong: dict[str, Any], before: dict[str, Any], want: Any) -> list[Cause]:
    """Learning rate, decay, frozen and unused parameters, two biases, an epsilon."""
    stage = "update"
    frozen = {e.jax for e in bound.mapping.entries if all(k in bound.torch.frozen for k in e.torch)}
    if wrong.keys() & frozen:
        path = sorted(wrong.keys() & frozen)[0]
        return _cause("frozen", f"torch holds {path} frozen (requires_grad=False), JAX trains it.",
                      "Mask it with optax.masked or optax.multi_transform.", stage)  # fmt: skip
    sums = {e.jax for e in bound.mapping.entries if len(e.torch) == 2}
    if wrong.keys() <= sums:
        return _cause("double-bias", "torch has two biases where JAX has their sum, so it moves twice as fast.",
                      "Freeze one of torch's biases (bias_hh), or double the rate of JAX's.", stage)  # fmt: skip
    unused = {e.jax for e in bound.mapping.entries
              if all(k in want["gradient"] and not want["gradient"][k].any() for k in e.torch)}  # fmt: skip
    if wrong.keys() <= unused:
        return _cause("unused-decay", "a parameter without a gradient is skipped by torch and decayed by optax.",
                      "Mask it in JAX.", stage)  # fmt: skip
    factors = _factors(wrong)
    whole = len(wrong) >= len(before) - len(unused)
    if whole and len(factors) == len(wrong) and np.ptp(factors) <= NAMED_FACTOR * abs(factors[0]):
        momentum = theirs.optimizer.param_groups[0].get("momentum") or 0.9
        if any(abs(factors[0] - f) < NAMED_FACTOR for f in (1 + momentum, 1 / (1 + momentum))):
            side = "JAX" if factors[0] > 1 else "torch"
            text = f"only {side} takes Nesterov's step: its first is 1 + {momentum:g} times as long."
            return _cause("nesterov", text, "Give both the same nesterov=.", stage)
        found = _schedule(bound, theirs)
        if found or not factors[0]:
            return found
        label = special_ratio(factors[0], {})
        rate = f"Give learning_rate={theirs.optimizer.param_groups[0]['lr']:.6g}."
        return _cause("learning-rate", f"every update is {label} times torch's.", rate, stage)
    if factors and len(factors) == len(wrong) and np.ptp(factors) <= NAMED_FACTOR * abs(factors[0]):
        return _cause("learning-rate", f"some updates are {special_ratio(factors[0], {})} times torch's: groups with"
                      " rates of their own.", "Use optax.multi_transform.", stage)  # fmt: skip
    decay = [r for p, (g, w) in wrong.items() if p in before and (r := ratio(g - w, before[p])) is not None]
    if decay and len(decay) >= len(wrong) - 1:
        rate = theirs.optimizer.param_groups[0]["lr"]
        if len({group.get("weight_decay") for group in theirs.optimizer.param_groups}) > 1:
            names = named(sorted(wrong))
            text = f"JAX decays {names} by other factors than torch, whose parameter groups have decays of their own."
            return _cause("decay-groups", text, "Pass mask= to the optax transformation, as torch groups them.", stage)
        apart = -decay[0] / rate
        text = f"the updates differ by {decay[0]:.3g} times the weights: JAX decays by {abs(apart):.3g}"
        text += f" {'more' if apart > 0 else 'less'} than torch."
        return _cause(
            "weight-decay", text, "Give both the same weight_decay (torch's AdamW: 0.01, optax: 0.0001).", stage
        )
    group = theirs.optimizer.param_groups[0]
    kind = type(theirs.optimizer).__name__
    if kind in ("NAdam", "RAdam", "Rprop", "Adagrad"):
        return _cause(
            "optimizer-rule", f"torch's {kind} follows another rule than optax's.", "Choose another pair.", stage
        )
    if "eps" in group and all(same(np.sign(g), np.sign(w)) for g, w in wrong.values()):
        text = (
            f"the updates have the same signs and other sizes: epsilon (torch {group['eps']:g}) or its place differs."
        )
        return _cause("optimizer-epsilon", text, "Give both the same eps; RMSprop needs eps_in_sqrt=False.", stage)
    return []


def _schedule(bound: Any, theirs: Any) -> list[Cause]:
    """A schedule that is a step ahead or behind: both optimizers are given one gradient several times."""
    import torch

    from jaxgrad.verify.port.quantities._jax import JaxQuantities
    from jaxgrad.verify.port.quantities._training_steps import _Jax, _Torch

    rounds, (_, gradient) = 4, theirs.given
    reference, ours = _Torch(bound, "float64"), _Jax(bound, JaxQuantities(bound, "float64"))
    name = max(gradient, key=lambda n: size(gradient[n]))
    none = jax.tree.map(np.zeros_like, ours.params)
    tree, state, params = ours._carried(gradient, none), ours.state, ours.params
    torchs, jaxs = [], []
    for _ in range(rounds):
        before = reference.params[name].detach().clone()
        for key, parameter in reference.params.items():
            if key in gradient:
                parameter.grad = torch.from_numpy(np.array(gradient[key]))
        reference.optimizer.step()
        torchs.append((reference.params[name].detach() - before).numpy())
        state, update, _ = ours.use(params, state, tree)
        jaxs.append(np.asarray(ours._back(update)[name]))
    for text, mend, early, late in (
        (
            "JAX's schedule is a step behind torch's: its second step is torch's first.",
            "Start it at count + 1.",
            jaxs,
            torchs,
        ),
        (
            "JAX's schedule is a step ahead of torch's: its first step is torch's second.",
            "Start it at count - 1.",
            torchs,
            jaxs,
        ),
    ):
        if all(same(a, b, ROUNDED) for a, b in zip(early[1:], late[:-1], strict=True)) and not same(early[0], early[1]):
            return [cause("schedule", text, mend, "update", proven=True)]
    return []


def _buffers(bound: Any, theirs: Any, wrong: dict[str, Any], before: Any, want: Any) -> list[Cause]:
    """Running statistics: momentum, and the variance that torch keeps unbiased."""
    del theirs, before, want
    stage = "buffers"
    start = bound.mapping.fill(bound.torch.buffers, list(wrong))
    moves = {p: ratio(g - start[p], w - start[p]) for p, (g, w) in wrong.items()}
    means = [f for p, f in moves.items() if p.endswith("/mean")]
    if means and means[0] is not None:
        text = f"JAX's running mean moves {special_ratio(means[0], {})} times as far: the momentum differs."
        return _cause("bn-momentum", text, "flax keeps momentum, torch takes it: momentum=0.9 for torch's 0.1.", stage)
    if all(p.endswith("/var") for p in wrong):
        text = "torch keeps the unbiased variance, N/(N-1) times flax's, where N counts the batch and its pixels."
        mend = "Multiply the batch's share of the running variance by N/(N-1); no setting of flax does it."
        return [cause("bn-unbiased", text, mend, stage, proven=_are_unbiased(bound, wrong, start))]
    return []


def _are_unbiased(bound: Any, wrong: dict[str, Any], start: dict[str, Any]) -> bool:
    """Say whether every variance of the batch is N/(N-1) times as large in torch, for an N of whole examples.

    Either side keeps a share of the start, which torch's momentum tells; the rest is the variance of the batch.
    """
    layers = dict(bound.torch.module.named_modules())
    examples = len(bound.batch[0])
    for path, (got, want) in wrong.items():
        key = next(e.torch[0] for e in bound.mapping.entries if e.jax == path)
        share = getattr(layers.get(key.rpartition(".")[0]), "momentum", None)
        kept = None if share is None else (1 - share) * start[path]
        factor = None if kept is None else ratio(got - kept, want - kept)
        if factor is None or not 0 < factor < 1:
            return False
        counted = 1 / (1 - factor) / examples
        if abs(counted - round(counted)) > NAMED_FACTOR * counted:
            return False
    return True

"""From a residual to its cause: what is tried is computed again on the reference's numbers, not guessed from a name."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import DEFINITION_F64, FAR_FROM_ZERO, LAST_RESORT, NARROW, ROUNDED, UNLIKE_WEIGHT
from jaxgrad.verify.port.diagnosis._backward import in_backward, in_quantities, one_weight
from jaxgrad.verify.port.diagnosis._between_layers import between
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import attempt, gather_inputs, gather_steps
from jaxgrad.verify.port.diagnosis._layers import in_layer
from jaxgrad.verify.port.diagnosis._loss import in_loss
from jaxgrad.verify.port.diagnosis._sequences import recurrent
from jaxgrad.verify.port.diagnosis._side_outputs import in_side_output
from jaxgrad.verify.port.diagnosis._training_step import in_step
from jaxgrad.verify.port.diagnosis._unmapped import with_unmapped
from jaxgrad.verify.port.frameworks._layer_settings import jax_configs
from jaxgrad.verify.port.mapping._compare_weights import compare_weights
from jaxgrad.verify.port.tracing._first_divergence import Passes
from jaxgrad.verify.report._records import Cause, Divergence, Result

__all__ = ["explain"]


EXPLAINED = 12
"""How many divergences are explained: the weightiest."""

NUMBERED = re.compile(r"[./_]\d+(?=[./_ ,;])[./]?")
"""The number of a block in a path."""

UNAVOIDABLE = ("bn-unbiased",)
"""What no port can mend by a setting: told, and never before what it can."""


def explain(
    bound: Any,
    passes: Passes | None,
    results: list[Result],
    divergences: list[Divergence],
    tolerance: float,
) -> list[Cause]:
    """Return the likely causes of every divergence, the weightiest first; one that says so where nothing known fits."""
    first = divergences[0] if divergences else None
    if first is None:
        return _noise(bound, results) or [_unknown(None)]
    found = _weights_apart(bound, first)
    # of a layer that runs several times the first call that differs: what follows may be its consequence
    places = list({(d.path, d.stage, d.where, d.jax): d for d in divergences[::-1]}.values())[::-1]
    places = [place for place in places if place.where != "mapping"]
    for place in [] if found else places[:EXPLAINED]:
        tried: list[str] = []
        found += (
            _precision(bound, place)
            or _at(bound, passes, results, place, tolerance, tried)
            or _alone(bound, place)
            or ([] if _needs_no_cause(place, places) else [_unknown(place, tried)])
        )
    if first.stage != "step" and any(r.verdict == "differ" and r.name.startswith("step") for r in results):
        found += in_step(bound, tolerance)
    found = with_unmapped(bound, results, _without_echoes(found))
    return sorted(_merged(found), key=lambda one: one.id in UNAVOIDABLE)


def _needs_no_cause(place: Divergence, places: list[Divergence]) -> bool:
    """Say whether a difference is that of another, or changes nothing that anyone reads.

    A gradient differs where a layer within differs in the forward pass; a mask that drops by -1e9 for -inf is another
    array and the same attention.
    """
    within = f"{place.path}."
    if place.stage == "backward":
        return any(p.stage == "forward" and (p.path == place.path or p.path.startswith(within)) for p in places)
    return place.explains <= DEFINITION_F64 and any(p.explains > DEFINITION_F64 for p in places)


def _unknown(place: Divergence | None, failed: Sequence[str] = ()) -> Cause:
    """Say that nothing known fits, and which searches could not be made."""
    where = f" at {place.path} ({place.stage}, {place.where})" if place is not None else ""
    untried = f"; could not be tried here: {'; '.join(failed)}" if failed else ""
    return cause("unknown", f"no known cause fits the residual{where}{untried}.", "", place.path if place else "")


ECHOES = ("residual", "addend-missing", "wiring", "norm-order", "unknown")
"""What a norm on the other side of the residual looks like at the next layers of its block."""


def _without_echoes(causes: list[Cause]) -> list[Cause]:
    """Leave out what is the same mistake once more: a norm moved within a block changes every sum of it."""
    found: list[Cause] = []
    told: set[str] = set()
    # the norm is told where it stands in torch, behind what its absence has changed
    blocks = {one.path.rpartition(".")[0] for one in causes if one.id == "norm-order" and one.proven}
    # blocks of a kind are one piece of code: what is known of one of them is the mistake of the others too
    known = {NUMBERED.sub(".#.", f"{one.path}.") for one in causes if one.id != "unknown"}
    for one in causes:
        block = one.path.rpartition(".")[0]
        if one.id == "unknown" and NUMBERED.sub(".#.", f"{one.path}.") in known:
            continue
        if one.id in ECHOES and blocks & {block, one.path} - {""} and (one.id != "norm-order" or block in told):
            continue
        found.append(one)
        told |= {block} if one.id == "norm-order" else set()
    return found


def _merged(causes: list[Cause]) -> list[Cause]:
    """Tell a cause that several layers share once, at the first of them."""
    found: dict[Any, list[Cause]] = {}
    for one in causes:
        # blocks of a kind differ by their numbers only
        key = (one.id, NUMBERED.sub(".#.", one.text), NUMBERED.sub(".#.", one.fix)) if one.id != "unknown" else one.id
        found.setdefault(key, []).append(one)
    return [
        dataclasses.replace(same[0], also=tuple(dict.fromkeys(c.path for c in same if c.path != same[0].path)))
        for same in found.values()
    ]


def _at(
    bound: Any,
    passes: Passes | None,
    results: list[Result],
    first: Divergence,
    tolerance: float,
    failed: list[str],
) -> list[Cause]:
    """Return the causes at a divergence, and note in ``failed`` the searches that raised."""
    if first.stage == "step":
        return in_step(bound, tolerance)
    if first.where == "tied weights":
        text = f"one tensor in torch fills {first.jax}, which are leaves of their own in JAX."
        return [cause("tied-weights", text, "Use one parameter, for example embed.attend.", first.path, proven=True)]
    if passes is not None and (counted := _other_count(bound, passes)):
        return counted
    if first.path == "loss" and first.stage == "forward":
        return _loss(bound, passes, results)
    if passes is not None and first.stage == "forward" and first.where == "value":
        return in_side_output(bound, passes, first)
    if passes is None or first.where not in ("input", "output", "weights"):
        return in_quantities(bound, results, first) or _one_leaf(bound, results, first)
    if first.stage == "backward":
        return in_backward(bound, passes, first) or in_quantities(bound, results, first)
    steps = next((one for one in passes.steps if first.slot == one.slots[0]), None)
    if steps is not None:
        stepped = gather_steps(bound, passes, first, steps)
        found = attempt(recurrent, stepped)
        failed += stepped.failed
        return found
    pair = next((a for a in passes.aligned if a.slot == first.slot), None)
    for evidence in gather_inputs(bound, passes, first, pair) if pair is not None else ():
        holds_others = any(a.call.parent is evidence.pair.call for a in passes.aligned)
        if first.where == "input":
            found = between(evidence)
        elif holds_others:
            found = between(evidence) or in_layer(evidence)
        else:
            found = in_layer(evidence) or between(evidence)
        failed += evidence.failed
        if found:
            return found
    return []


def _other_count(bound: Any, passes: Passes) -> list[Cause]:
    """A layer that one model calls more often than the other: what follows is paired with the wrong call."""
    links = {(a.call.path, a.slot[0]) for a in passes.aligned if a.call.path and a.slot[0]}
    for path, other in sorted(links):
        # a tied head is a layer of its own on one side, and a method of the embedding on the other
        both = {p for p, q in links if q == other}, {q for p, q in links if p == path}
        # which need not be paired: a head may have a bias beside the table
        tied = {key.rpartition(".")[0] for pair in bound.torch.aliases.items() for key in pair
                if {k.rpartition(".")[0] for k in pair} & both[0]}  # fmt: skip
        theirs, whole = (sum(call.path in paths for call in passes.trace.calls) for paths in (both[0], both[0] | tied))
        ours = sum(slot[0] in both[1] for slot in passes.natural.outputs)
        # and may be applied inside of JAX's code, where no call of it shows
        if ours not in (theirs, whole):
            text = f"torch calls {path} {_often(theirs)}, JAX calls {other} {_often(ours)}."
            return [cause("call-count", text, "Apply it as often in both.", path)]
    return []


def _often(count: int) -> str:
    """Return a number of calls in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _loss(bound: Any, passes: Passes | None, results: list[Result]) -> list[Cause]:
    """Explain the loss from the reference's output."""
    import torch

    from jaxgrad.verify.port.frameworks._outputs import main

    if passes is not None:
        output = main(passes.trace.output).detach().numpy()
        return in_loss(bound, output, passes.trace.loss, passes.forced.loss)
    value = next((r for r in results if r.name == "value"), None)
    if value is None:
        return []
    leaf = next((x for x in value.leaves if x.torch == "loss"), None)
    with torch.no_grad():
        params, buffers = bound.torch.tensors("float64")
        inputs = bound.torch.batch(bound.batch, "float64")
        output = main(bound.torch.call("float64", params, buffers, *(inputs[:-1] or inputs))).numpy()
    return in_loss(bound, output, leaf.want, leaf.got) if leaf is not None else []


def _one_leaf(bound: Any, results: list[Result], first: Divergence) -> list[Cause]:
    """Explain a gradient of which only some leaves differ, where the layers cannot be watched."""
    from jaxgrad.verify.port.quantities._jax import JaxQuantities
    from jaxgrad.verify.port.quantities._torch import TorchQuantities

    result = next((r for r in results if r.name == "gradient" and r.verdict == "differ"), None)
    if result is None or result.worst is None:
        return []
    name = result.worst.torch
    want = TorchQuantities(bound, "float64").basic()["gradient"].get(name)
    got = JaxQuantities(bound, "float64").basic()["gradient"].get(name)
    if want is None or got is None:
        return []
    return one_weight(bound, name, np.asarray(got), want.numpy(), first.path)


def _weights_apart(bound: Any, first: Divergence) -> list[Cause]:
    """With the port's own weights: is a leaf the transpose, a rearrangement, or another array?"""
    if bound.options.weights != "own" or first.stage != "forward":
        return []
    rows = [row for row in compare_weights(bound) if row["error"] > UNLIKE_WEIGHT]
    below = [r for r in rows if any(k.startswith(f"{first.path}.") for k in r["torch"])] or rows
    if not below:
        return []
    row = below[0]
    name = "transposed-kernel" if "transpose" in row["note"] else "weights"
    text = f"the port's {row['jax']} is not torch's {', '.join(row['torch'])}: {row['note']}."
    return [
        cause(name, text, "Convert it by the rule that `audit` names.", first.path, proven="transpose" in row["note"])
    ]


def _precision(bound: Any, first: Divergence | None) -> list[Cause]:
    """A layer that computes in a lower precision than it is given."""
    if first is None or first.stage != "forward":
        return []
    for path, settings in jax_configs(bound.jax).items():
        dtype = settings.get("dtype")
        name = str(getattr(dtype, "__name__", dtype)).split(".")[-1]
        below = path == first.jax or path.startswith(f"{first.jax}/")
        if name == "float32" and bound.islands and not bound.islands.alone:
            continue
        if below and name in ("float32", "bfloat16", "float16") and first.error < NARROW:
            text = f"the JAX layer {path or 'itself'} computes in {name} whatever it is given (dtype={name})."
            return [cause("dtype", text, "Leave dtype=None, so that it follows its inputs.", first.path)]
    return []


def _alone(bound: Any, first: Divergence | None) -> list[Cause]:
    """JAX casts to float32 where torch keeps what it is given, and nothing but that is to be seen here."""
    islands = bound.islands
    if first is None or first.stage != "forward" or not islands or not islands.alone or first.error > ROUNDED:
        return []
    text = f"JAX computes in float32 whatever it is given, torch does not ({'; '.join(islands.alone[:2])})."
    return [cause("dtype", text, "Compute in the dtype of the input, or cast in torch too.", first.path)]


def _noise(bound: Any, results: list[Result]) -> list[Cause]:
    """The same function, computed with more rounding than torch."""
    noisy = [r for r in results if r.verdict == "noisy"]
    if not noisy:
        return []
    for path, settings in jax_configs(bound.jax).items():
        if settings.get("use_fast_variance") and _large_means(bound):
            text = f"{path} computes its variance as E[x^2] - E[x]^2, which loses the digits of inputs far from 0."
            return [cause("fast-variance", text, "Set use_fast_variance=False.", path)]
    text = f"both compute the same in float64, but JAX rounds {noisy[0].noise:.0f} times as much as torch."
    return [cause("precision", text, 'Set jax.config.update("jax_default_matmul_precision", "highest"), and look for'
                  " reduced precision inside of the model (TF32, bfloat16).")]  # fmt: skip


def _large_means(bound: Any) -> bool:
    """Say whether a normalised array lies far from zero."""
    from jaxgrad.verify.port.tracing._record_torch import capture

    inputs = [c.inputs[0] for c in capture(bound.torch, bound.batch).calls if "Norm" in c.kind and c.inputs]
    spread = [(np.abs(x.mean(-1)).max(), x.std(-1).min()) for x in inputs if x is not None]
    return any(mean > FAR_FROM_ZERO * max(std, LAST_RESORT) for mean, std in spread)

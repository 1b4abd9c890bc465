"""Where two models part first, forward and backward, and whose error it is."""

import dataclasses
import functools
from collections import Counter
from typing import Any

import numpy as np

from jaxgrad.verify.judge import relative, size
from jaxgrad.verify.judge._tolerances import MAIN_PART, NO_COTANGENT, SMALL_LEAF
from jaxgrad.verify.port.frameworks._compile import quick
from jaxgrad.verify.port.quantities._jax import Gradient
from jaxgrad.verify.port.tracing import _match_calls, _record_jax, _record_torch
from jaxgrad.verify.port.tracing._match_calls import Aligned, Steps
from jaxgrad.verify.port.tracing._record_jax import Forced, Natural, Reference
from jaxgrad.verify.port.tracing._record_torch import Call, Trace
from jaxgrad.verify.report._records import Divergence, LayerError, Slot

__all__ = ["Passes", "find_all", "layers", "watch", "with_own"]


@dataclasses.dataclass
class Passes:
    """Everything that both models did, laid side by side."""

    bound: Any
    dtype: str
    trace: Trace
    natural: Natural
    aligned: list[Aligned]
    plan: dict[Slot, Reference]
    steps: list[Steps] = dataclasses.field(default_factory=list)
    """Recurrences that JAX writes out step by step."""

    @functools.cached_property
    def forced(self) -> Forced:
        """The forced pass; a program of its own, which nobody needs where nothing differs."""
        states = {slot: state for one in self.steps for slot, state in one.states().items()}
        return _record_jax.force(self.bound, self.plan, self.dtype, states)

    @functools.cached_property
    def gradients(self) -> dict[str, np.ndarray]:
        """The layers' own weight gradients, by torch name."""
        return {n: np.asarray(g) for n, g in quick(self.bound.pull_back)(self.forced.gradients).items()}


def watch(bound: Any, dtype: str = "float64", recorded: Gradient | None = None) -> Passes | None:
    """Run both models under observation, or return ``None`` where the JAX side shows nothing inside.

    Args:
        bound: The pair.
        dtype: The precision.
        recorded: What a program of the gradient has recorded of JAX's layers; they are run here without it.
    """
    if bound.jax.kind == "function":
        return None
    trace = _record_torch.capture(bound.torch, bound.batch, dtype)
    if recorded is not None:
        outline = bound.islands.calls
        natural = _record_jax.natural(recorded.seen, recorded.layers, recorded.value, recorded.output)
    else:
        outline = _record_jax.outline(bound, dtype)
        natural = _record_jax.run(bound, outline, dtype)
    aligned = _match_calls.align(bound, trace.calls, natural, [slot for slot, _ in outline])
    plan = _match_calls.reference(bound, aligned, natural)
    steps = _match_calls.steps_of(bound, trace.calls, aligned, natural, [slot for slot, _ in outline])
    return Passes(bound, dtype, trace, natural, aligned, plan, steps)


def stacked(passes: Passes, one: Steps) -> np.ndarray:
    """Return what JAX's cells make of the reference's states, laid out as torch's output."""
    return np.stack([passes.forced.steps[slot] for slot in one.slots], one.axis)


def layers(passes: Passes, *, unread: bool = False) -> list[LayerError]:
    """Return a row for every pair of calls, in the order of execution; the errors in the whole model stand for its own.

    Args:
        passes: What both models did.
        unread: Whether entries count that no gradient comes back to on either side. Where the outputs agree they do
            not: nobody reads what an attention returns for its padding.
    """
    rows = []
    for pair in passes.aligned:
        ref, slot = passes.plan[pair.slot], pair.slot
        theirs = passes.natural.cotangents[slot]
        forward = _error(passes.natural.outputs[slot], ref.output, ref.cotangent, theirs, unread=unread)
        backward = relative(theirs, ref.cotangent, NO_COTANGENT * size(ref.cotangent))
        rows.append(LayerError(
            pair.call.path, slot[0], pair.call.kind, pair.call.start,
            forward=forward, own_forward=forward, own_input=0.0,
            backward=backward, own_backward=backward, own_behind=0.0, own_weights=0.0,
        ))  # fmt: skip
    return rows


def with_own(passes: Passes, rows: list[LayerError], *, unread: bool = False) -> list[LayerError]:
    """Return the rows of `layers` with each layer's own errors told apart from what it inherits: by the forced pass."""
    return [_with_own(passes, pair, row, unread) for pair, row in zip(passes.aligned, rows, strict=True)]


def _error(got: np.ndarray, want: np.ndarray, *back: Any, unread: bool) -> float:
    """Return an error, of the entries alone that a gradient comes back to where the others do not count."""
    read = unread or not back or any(b is None or b.shape != want.shape for b in back)
    return relative(got, want) if read else _of_read(got, want, back)


def _with_own(passes: Passes, pair: Aligned, row: LayerError, unread: bool) -> LayerError:
    """Return a row with the errors that are a layer's own, by the forced pass."""
    ref, slot, forced = passes.plan[pair.slot], pair.slot, passes.forced
    arrived, sent = forced.arrived.get(slot, {}), forced.input_cotangents.get(slot, {})
    floor = NO_COTANGENT * size(ref.cotangent)
    scale = max(map(size, passes.trace.gradients.values()), default=0.0)
    both = ref.cotangent, passes.natural.cotangents[slot]
    output = forced.outputs.get(slot)
    inputs = [
        _error(x, ref.inputs[i], ref.input_cotangents.get(i), sent.get(i), unread=unread) for i, x in arrived.items()
    ]
    back = [relative(sent[i], h, floor) for i, h in ref.input_cotangents.items()]
    inner = any(a.call.parent is pair.call for a in passes.aligned)
    return dataclasses.replace(
        row,
        own_forward=0.0 if output is None else _error(output, ref.output, *both, unread=unread),
        own_input=max(inputs, default=0.0),
        own_backward=max(back, default=0.0),
        own_behind=relative(forced.output_cotangents[slot], ref.cotangent, floor),
        own_weights=0.0 if inner else _own_weights(passes, pair.call.path, SMALL_LEAF * scale),
    )


def _of_read(got: np.ndarray, want: np.ndarray, back: tuple[np.ndarray, ...]) -> float:
    """Return the error of the entries that a gradient comes back to on either side."""
    read = np.any([b != 0 for b in back], axis=0)
    if got.shape != want.shape or read.all() or not read.any():
        return relative(got, want) if got.shape != want.shape or read.all() else 0.0
    return relative(got[read], want[read], floor=0.0)


def _own_weights(passes: Passes, path: str, floor: float) -> float:
    """Return the error of the gradients of a layer's own weights."""
    prefix = f"{path}." if path else ""
    names = [n for n in passes.trace.gradients if n.startswith(prefix)]
    if not path:
        names = [n for n in names if not any(n.startswith(f"{a.call.path}.") for a in passes.aligned if a.call.path)]
    found = [(passes.gradients.get(n), passes.trace.gradients[n]) for n in names]
    return max((relative(g, w, floor) if g is not None else np.inf for g, w in found), default=0.0)


def find_all(bound: Any, passes: Passes, rows: list[LayerError], tolerance: float) -> list[Divergence]:
    """Return every own error of the forward pass, the weightiest first; or else the first of the backward pass."""
    found = _forward(passes, rows, tolerance)
    if not found:
        first = _first_backward(passes, rows, tolerance)
        return [first] if first is not None else []
    apart = _backward_apart(passes, rows, found, tolerance)
    return (ranked(bound, passes, found) if len(found) > 1 else found) + apart


def ranked(bound: Any, passes: Passes, found: list[Divergence]) -> list[Divergence]:
    """Order divergences by what each explains of the output's error; those that explain much, as they come to pass.

    A difference of 5e-9 at the input must not stand before a wrong activation behind it. Which of two large ones comes
    first says more: what follows may be its consequence.
    """
    # a recurrence that JAX writes out has no one place at which it could be mended
    inside = [d for d in found if d.slot in passes.plan]
    try:
        alone = _record_jax.alone(bound, passes.plan, passes.forced, [(d.slot, d.where) for d in inside if d.slot])
    except Exception:  # the corrected model may leave the domain of its own code: then the order is what we have
        return found
    parts = dict(zip(map(id, inside), alone, strict=True))
    found = [dataclasses.replace(d, explains=parts.get(id(d), d.error)) for d in found]
    most = max(d.explains for d in found)
    main = [d for d in found if d.explains >= MAIN_PART * most]
    return main + sorted((d for d in found if d not in main), key=lambda d: -d.explains)


def _forward(passes: Passes, rows: list[LayerError], tolerance: float) -> list[Divergence]:
    """Return the own errors in the order of the forward pass; none of them is inherited."""
    events: list[tuple[float, Divergence]] = []
    for row, pair in zip(rows, passes.aligned, strict=True):
        if row.own_input > tolerance:
            path = _between(passes, pair) or row.torch
            events.append((pair.call.start, Divergence(path, "forward", "input", row.jax, row.own_input, pair.slot)))
        if row.own_forward > tolerance:
            path = _trailing(passes, pair) or row.torch or "(model)"
            events.append((pair.call.end, Divergence(path, "forward", "output", row.jax, row.own_forward, pair.slot)))
    for one in passes.steps:
        assert one.call.output is not None
        apart = relative(stacked(passes, one), one.call.output)
        if apart > tolerance:
            event = Divergence(one.call.path, "forward", "output", one.slots[0][0], apart, one.slots[0])
            events.append((one.call.end, event))
    loss = relative(np.asarray(passes.forced.loss), np.asarray(passes.trace.loss))
    if loss > tolerance:
        events.append((np.inf, Divergence("loss", "forward", "output", "loss", loss)))
    return [divergence for _, divergence in sorted(events, key=lambda event: event[0])]


def _first_backward(passes: Passes, rows: list[LayerError], tolerance: float) -> Divergence | None:
    """Return the last place in forward order at which a pull-back differs: the first in backward order."""
    events: list[tuple[float, Divergence]] = []
    for row, pair in zip(rows, passes.aligned, strict=True):
        call = pair.call
        if row.own_behind > tolerance:
            path = "loss" if not row.torch else _behind(passes, call)
            events.append((call.end, Divergence(path, "backward", "input", row.jax, row.own_behind)))
        inside = max(row.own_backward, row.own_weights)
        if inside > tolerance:
            where = "output" if row.own_backward >= row.own_weights else "weights"
            events.append((call.start + 0.5, Divergence(row.torch or "(model)", "backward", where, row.jax, inside)))
    return max(events, key=lambda event: event[0])[1] if events else None


def _backward_apart(
    passes: Passes, rows: list[LayerError], forward: list[Divergence], tolerance: float
) -> list[Divergence]:
    """Return the layers whose weights get another gradient although they, and what holds them, agree forward."""
    wrong = {d.path for d in forward} | {d.jax for d in forward}
    found = []
    for row, pair in zip(rows, passes.aligned, strict=True):
        leaf = not any(a.call.parent is pair.call for a in passes.aligned)
        if not leaf or row.own_weights <= tolerance or {row.torch, row.jax} & wrong or not row.torch:
            continue
        # what the code behind a layer sends back wrongly spoils its weights too
        if row.own_behind > tolerance:
            continue
        found.append(Divergence(row.torch, "backward", "weights", row.jax, row.own_weights, None, 0.0))
    return list({d.path: d for d in found}.values())


def _between(passes: Passes, pair: Aligned) -> str:
    """Return the torch layer without a JAX partner that ran right before a call, if one did."""
    return _lone(passes, pair.call.start, pair.call.parent, next((x for x in pair.call.inputs if x is not None), None))


def _trailing(passes: Passes, pair: Aligned) -> str:
    """Return the torch layer without a partner that ended a model, or that makes what a layer around it returns."""
    path = _lone(passes, pair.call.end, pair.call, pair.call.output)
    made = [c for c in passes.trace.calls if c.path == path and c.end < pair.call.end]
    return path if not pair.call.path or any(_returns(c, pair.call.output) for c in made) else ""


def _lone(passes: Passes, time: float, parent: Call | None, arrives: np.ndarray | None) -> str:
    """Return the last unpaired layer that changed its input between the last paired one and a time.

    The softmax of an attention is not the place: code behind it mixes what it returns with the values, and what stands
    before it is as likely. The layer that takes the mixture is named.
    """
    paired = {id(a.call) for a in passes.aligned}
    siblings = [c for c in passes.trace.calls if c.parent is parent and c.end < time]
    lone: list[Call] = []
    for call in sorted(siblings, key=lambda c: -c.end):
        if id(call) in paired:
            break
        # a layer that only hands on what a paired one inside of it returned has been judged there
        inner = _last_inside(passes, call)
        if id(inner) in paired:
            break
        if not _returns(inner, inner.inputs[0] if inner.inputs else None) and inner.kind not in QUIET:
            lone.append(inner)
    return lone[0].path if lone and not _mixed(lone[0].output, arrives) else ""


def _mixed(made: np.ndarray | None, arrives: np.ndarray | None) -> bool:
    """Say whether an array has other axes than what was made of it: neither a part, a sum nor a copy along some."""
    if made is None or arrives is None or made.size == arrives.size:
        return False
    theirs, ours = (Counter(n for n in x.shape if n > 1) for x in (made, arrives))
    return not (theirs <= ours or ours <= theirs)


QUIET = ("Flatten", "Unflatten", "Identity")
"""Layers that change no number."""


def _last_inside(passes: Passes, call: Call) -> Call:
    """Return the innermost call that made what a call returns."""
    inside = [c for c in passes.trace.calls if c.parent is call and _returns(c, call.output)]
    return _last_inside(passes, max(inside, key=lambda c: c.end)) if inside else call


def _returns(call: Call, array: np.ndarray | None) -> bool:
    """Say whether a call returned an array as it is."""
    return array is not None and call.output is not None and np.array_equal(call.output, array)


def _behind(passes: Passes, call: Call) -> str:
    """Return the torch layer that takes what a call returns."""
    later = [c for c in passes.trace.calls if c.parent is call.parent and c.start > call.end]
    if later:
        return min(later, key=lambda c: c.start).path
    return (call.parent.path if call.parent is not None else "") or "(model)"

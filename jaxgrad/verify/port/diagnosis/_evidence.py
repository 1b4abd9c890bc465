"""What the first divergence leaves to work with, in torch's layout."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge import relative
from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.frameworks._layer_settings import jax_configs, torch_configs
from jaxgrad.verify.port.tracing._first_divergence import Passes, stacked
from jaxgrad.verify.port.tracing._match_calls import Aligned, Steps
from jaxgrad.verify.port.tracing._record_torch import Call
from jaxgrad.verify.report._records import Cause, Divergence

__all__ = ["Evidence", "attempt", "gather", "gather_inputs", "gather_steps", "proven", "proven_here"]


SIBLINGS, INNER, OTHERS = 12, 8, 4
"""How many arrays of the calls beside a place are looked at, and how many of those inside of them, the latest first: of
the shape of what is wanted, and of others."""


@dataclasses.dataclass
class Evidence:
    """One place, what the reference has there, and what JAX made of the same inputs."""

    bound: Any
    first: Divergence
    pair: Aligned
    want: np.ndarray
    got: np.ndarray
    sources: dict[str, np.ndarray]
    """Arrays that the code at this place could have used, by a name in words, laid out as `want`."""
    inputs: list[np.ndarray]
    """The reference's inputs of the layer."""
    torch: dict[str, Any]
    """The settings of the torch layer."""
    jax: dict[str, Any]
    """Those of the JAX layer."""
    lone: Call | None = None
    """A torch layer without a JAX partner, which the code between two layers stands for."""
    before: list[Call] = dataclasses.field(default_factory=list)
    """The torch calls at hand, in their order: what ran before this place inside of the same layer."""
    around: list[Call] = dataclasses.field(default_factory=list)
    """The torch calls that hold this place, the innermost first."""
    passes: Passes | None = None
    """What both models did."""
    forced: bool = False
    """Whether each step of a recurrence was given the reference's state of the step before."""
    inner: tuple[slice, ...] | None = None
    """What lies inside of the border of an input that the port pads by hand, where only the border differs."""
    cut: tuple[slice, ...] | None = None
    """What cut that border off, where what lies inside of it differs too."""
    failed: list[str] = dataclasses.field(default_factory=list)
    """Searches that raised on what this model holds; the others go on."""

    def weight(self, name: str) -> np.ndarray | None:
        """Return a weight or buffer of the torch layer."""
        key = f"{self.pair.call.path}.{name}" if self.pair.call.path else name
        key = self.bound.torch.aliases.get(key, key)
        held = {**self.bound.torch.params, **self.bound.torch.buffers}
        return held.get(key)

    def under(self) -> dict[str, np.ndarray]:
        """Return the weights and buffers of the layer that holds this place, by their names there."""
        prefix = f"{self.around[0].path}." if self.around and self.around[0].path else ""
        held = {**self.bound.torch.params, **self.bound.torch.buffers}
        return {name.removeprefix(prefix): np.asarray(x) for name, x in held.items() if name.startswith(prefix)}


def proven(e: Evidence, name: str, text: str, mend: str = "") -> list[Cause]:
    """Return one proven cause at the layer."""
    return [cause(name, text, mend, e.pair.call.path, proven=True)]


def proven_here(e: Evidence, name: str, text: str, mend: str = "") -> list[Cause]:
    """Return one proven cause at the place of the difference, which may lie between two layers."""
    return [cause(name, text, mend, e.first.path, proven=True)]


def attempt(find: Callable[[Evidence], list[Cause]], e: Evidence) -> list[Cause]:
    """Return what a search finds, or nothing where it was not made for such a layer."""
    try:
        return find(e)
    except Exception as error:
        e.failed.append(f"{find.__name__.strip('_').replace('_', ' ')}: {first_line(error)}")
        return []


def gather_inputs(bound: Any, passes: Passes, first: Divergence, pair: Aligned) -> list[Evidence]:
    """Collect the evidence of a place, once for every input that differs: which of them matters is not known."""
    if first.where != "input":
        return [one for one in (gather(bound, passes, first, pair),) if one is not None]
    ref, arrived = passes.plan[pair.slot], passes.forced.arrived.get(pair.slot, {})
    apart = {i: relative(x, ref.inputs[i]) for i, x in arrived.items()}
    wrong = [i for i in sorted(apart, key=lambda i: -apart[i]) if apart[i] > RECOGNISED]
    found = (gather(bound, passes, first, pair, i) for i in wrong or sorted(apart))
    return [one for one in found if one is not None]


def gather(bound: Any, passes: Passes, first: Divergence, pair: Aligned, index: int | None = None) -> Evidence | None:
    """Collect the evidence at a place of the forward pass; of several inputs that of one."""
    ref, cut = passes.plan[pair.slot], None
    theirs = torch_configs(bound.torch.module)
    ours = jax_configs(bound.jax)
    settings = theirs.get(pair.call.path, {}), ours.get(pair.slot[0], {})
    inputs = [x for x in pair.call.inputs if x is not None]
    if first.where == "input":
        arrived = passes.forced.arrived.get(pair.slot, {})
        if index is None or index not in arrived:
            return None
        want, got = ref.inputs[index], arrived[index]
        inner = _inside_of_padding(bound, pair, index, want) if index in ref.through else None
        if inner is not None and relative(got[inner], want[inner]) > RECOGNISED:
            # the border is made of what it goes around, and that is what the code before has made
            want, got, cut, inner = want[inner], got[inner], inner, None
        outer = _outermost(pair.call)
        sources = _sources(bound, passes, outer.parent, outer.start, want)
    else:
        inner = None
        want, got = ref.output, passes.forced.outputs[pair.slot]
        sources = _sources(bound, passes, pair.call, pair.call.end, want)
        back = tuple(int(i) for i in np.argsort(pair.layout))
        turned = {n: s.transpose(back) if s.ndim == len(back) else s for n, s in sources.items()}
        want, got, sources = want.transpose(back), got.transpose(back), turned
    lone = next((c for c in passes.trace.calls if c.path == first.path and c is not pair.call), None)
    outer = _outermost(pair.call)
    holder, time = (outer.parent, outer.start) if first.where == "input" else (pair.call, pair.call.end)
    before = [c for c in passes.trace.calls if c.end < time and _inside(c, holder) and not _hands_through(c)]
    around = []
    while holder is not None:
        around.append(holder)
        holder = holder.parent
    before.sort(key=lambda c: c.end)
    return Evidence(bound, first, pair, want, got, sources, inputs, *settings, lone=lone,
                    before=before, around=around, passes=passes, inner=inner, cut=cut)  # fmt: skip


def gather_steps(bound: Any, passes: Passes, first: Divergence, one: Steps) -> Evidence:
    """Collect the evidence of a recurrence that JAX writes out step by step."""
    assert one.call.output is not None
    pair = Aligned(one.call, one.slots[0], tuple(range(one.call.output.ndim)))
    settings = torch_configs(bound.torch.module).get(one.call.path, {}), jax_configs(bound.jax).get(one.slots[0][0], {})
    inputs = [x for x in one.call.inputs if x is not None]
    return Evidence(bound, first, pair, one.call.output, stacked(passes, one), {}, inputs, *settings, passes=passes,
                    forced=True)  # fmt: skip


def _inside_of_padding(bound: Any, pair: Aligned, index: int, want: np.ndarray) -> tuple[slice, ...] | None:
    """Return what cuts the border off an input that torch's layer pads and JAX's code before the layer."""
    module, value = dict(bound.torch.module.named_modules()).get(pair.call.path), pair.call.inputs[index]
    pad = getattr(module, "padding", None)
    if value is None or not isinstance(pad, tuple) or value.ndim != want.ndim:
        return None
    sides = [(0, 0)] * (value.ndim - len(pad)) + [(p, p) for p in pad]
    axes = layout_of(np.pad(value, sides), want)
    return None if axes is None else tuple(slice(sides[a][0], sides[a][0] + value.shape[a]) for a in axes)


def _outermost(call: Call) -> Call:
    """Return the outermost layer that hands its input on to a call as it is: what is made of it stands before that."""
    while call.parent is not None and call.parent.parent is not None and _hands_on(call.parent, call):
        call = call.parent
    return call


def _hands_on(holder: Call, call: Call) -> bool:
    """Say whether a call takes the input of the layer that holds it."""
    theirs, ours = ((c.inputs[0] if c.inputs else None) for c in (holder, call))
    return theirs is not None and ours is not None and np.array_equal(theirs, ours)


def _inside(call: Call, holder: Call | None) -> bool:
    """Say whether a call ran inside of another."""
    while call.parent is not None:
        call = call.parent
        if call is holder:
            return True
    return holder is None


def _sources(bound: Any, passes: Passes, parent: Call | None, time: int, like: np.ndarray) -> dict[str, np.ndarray]:
    """Return what ran before a time below one parent, latest first, and the parent's own input."""
    del bound
    cuts = {id(a.call): a.shape for a in passes.aligned if a.shape}
    calls = [c for c in passes.trace.calls if c.parent is parent and c.end < time and not _hands_through(c)]
    found: dict[str, np.ndarray] = {}
    for call in sorted(calls, key=lambda c: -c.end):
        for name, array in (
            (call.path, None if call.output is None else call.output[_slices(cuts.get(id(call), ()))]),
            (f"the input of {call.path}", call.inputs[0] if call.inputs else None),
        ):
            laid = None if array is None or array.dtype.kind != "f" else _laid_out(array, like)
            if laid is not None:
                found.setdefault(name, laid)
    found = dict(list(found.items())[:SIBLINGS])
    for i, given in enumerate(parent.inputs if parent is not None else ()):
        laid = _laid_out(given, like) if given is not None and given.dtype.kind == "f" else None
        if laid is not None and parent is not None:
            which = "the input" if i == 0 else f"input {i + 1}"
            found.setdefault(f"{which} of {parent.path or 'the model'}", laid)
    found = _by_maker(found)
    # what ran inside of these layers may be handed on as well, as the branches of a block are
    inner = [c for c in passes.trace.calls if c.parent is not parent and c.end < time and _inside(c, parent)]
    inner = [c for c in inner if not _hands_through(c)]
    room = {True: INNER, False: OTHERS}
    for call in sorted(inner, key=lambda c: -c.end):
        if call.output is None or call.output.dtype.kind != "f":
            continue
        laid = _laid_out(call.output[_slices(cuts.get(id(call), ()))], like)
        fits = laid is not None and laid.shape == like.shape
        if laid is not None and room[fits] and not any(x is laid or np.array_equal(x, laid) for x in found.values()):
            found[call.path] = laid
            room[fits] -= 1
    return found


def _by_maker(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out what a layer takes where it is what another returns: it goes by the name of the layer that made it."""
    made = [x for name, x in found.items() if not name.startswith("the input of ")]
    return {
        name: x
        for name, x in found.items()
        if not name.startswith("the input of ") or not any(x.shape == y.shape and np.array_equal(x, y) for y in made)
    }


def _hands_through(call: Call) -> bool:
    """Say whether a call returns what it is given, as an Identity or a Dropout at rest does: nobody can feed it."""
    given = call.inputs[0] if call.inputs else None
    return call.output is None or (given is not None and np.array_equal(given, call.output))


def _slices(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return what cuts an array to a shape."""
    return tuple(slice(0, n) for n in shape)


def _laid_out(array: np.ndarray, like: np.ndarray) -> np.ndarray | None:
    """Return an array in the layout of another of the same numbers, or as it is where the shapes cannot be matched."""
    if array.shape == like.shape and array.ndim < 4:
        return array
    axes = layout_of(array, like)
    if axes is not None:
        return array.transpose(axes)
    # other channels than those that are made of it: they lie last where the rest fits so
    last = np.moveaxis(array, 1, -1) if array.ndim == like.ndim > 2 else array
    if last.shape[:-1] == like.shape[:-1] != array.shape[:-1]:
        return last
    # one pixel of every channel, as it multiplies a whole image
    one = array.ndim == like.ndim > 2 and array[0, 0].size == 1 and array.shape[:2] == (like.shape[0], like.shape[-1])
    return last if one else array

"""Which call of a torch layer is which call of a JAX layer, and in which order their axes lie."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.judge import relative
from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.port.tracing._record_jax import Natural, Reference
from jaxgrad.verify.port.tracing._record_torch import Call
from jaxgrad.verify.report._records import Slot

__all__ = ["Aligned", "Steps", "align", "reference", "steps_of"]


@dataclasses.dataclass
class Aligned:
    """Two calls that should compute the same."""

    call: Call
    slot: Slot
    layout: tuple[int, ...]
    """The axes of torch's output in JAX's order."""
    shape: tuple[int, ...] = ()
    """What JAX has of torch's output, where torch's code cuts the end of it off; nothing if that is all."""


def align(bound: Any, calls: list[Call], natural: Natural, order: list[Slot]) -> list[Aligned]:
    """Pair calls by the weights below them, then by names below paired parents, then the roots."""
    # 1. group the modules of either side by the JAX leaves below them: the same set on both sides is the same part of
    # the network, whatever its name is
    below_torch, below_jax = _leaves_below(bound)
    ours: dict[frozenset[str], list[str]] = {}
    for path in dict.fromkeys(path for path, _ in order):
        ours.setdefault(below_jax(path), []).append(path)
    theirs: dict[frozenset[str], list[str]] = {}
    for path in dict.fromkeys(call.path for call in calls):
        theirs.setdefault(below_torch(path), []).append(path)
    # 2. pair the modules of a group level by level, and their calls in the order in which they ran
    pairs: dict[str, str] = {"": ""}
    found: list[Aligned] = []
    for leaves, paths in theirs.items():
        # the empty set is every layer without weights, which says nothing of which is which: step 3
        if not leaves or leaves not in ours:
            continue
        apart = functools.partial(_apart, calls, natural, order)
        # the roots hold all leaves, as a wrapper around the whole network does: they are kept for step 4
        for group_t, group_j in _levels([p for p in paths if p], [p for p in ours[leaves] if p], leaves, apart):
            found += _zip_calls(group_t, group_j, calls, natural, order)
            pairs |= dict(zip(group_t, group_j, strict=False))
    # 3. layers without weights, by their own names below parents that step 2 has paired
    found += _by_name(theirs.get(frozenset(), []), ours.get(frozenset(), []), pairs, calls, natural, order)
    # 4. the models themselves, so that what lies behind the last layer has a place too
    found += _zip_calls([""], [""], calls, natural, order)
    return sorted(found, key=lambda a: a.call.start)


def _leaves_below(bound: Any) -> tuple[Any, Any]:
    """Return two functions: the JAX leaves that the weights below a torch path fill, and those below a JAX path."""
    filled: dict[str, set[str]] = {}
    for entry in bound.mapping.entries:
        for key in entry.torch:
            filled.setdefault(key, set()).add(entry.jax)
    for alias, owner in bound.torch.aliases.items():
        filled[alias] = set(filled.get(owner, ()))
    leaves = {e.jax: e.jax.removeprefix("batch_stats/") for e in bound.mapping.entries}

    def torch(path: str) -> frozenset[str]:
        prefix = f"{path}." if path else ""
        return frozenset(leaf for key, found in filled.items() if key.startswith(prefix) for leaf in found)

    def jax(path: str) -> frozenset[str]:
        prefix = f"{path}/" if path else ""
        return frozenset(leaf for leaf, bare in leaves.items() if bare.startswith(prefix))

    return torch, jax


def _levels(
    torch: list[str], jax: list[str], leaves: frozenset[str], apart: Callable[[str, str], float]
) -> list[tuple[list[str], list[str]]]:
    """Split paths that hold the same weights into the innermost ones and those around them.

    Where one side has more wrappers than the other, as a residual around a Sequential has, the values tell which is
    which.
    """

    def inner(paths: list[str], mark: str) -> tuple[list[str], list[str]]:
        innermost = [p for p in paths if not any(q.startswith(f"{p}{mark}") for q in paths)]
        return innermost, [p for p in paths if p not in innermost]

    (inner_t, outer_t), (inner_j, outer_j) = inner(torch, "."), inner(jax, "/")
    if not inner_t or not inner_j:
        return []
    # a weight right below the innermost path is its own: it is a layer, and no wrapper can stand for it
    holds_its_own = any(leaf.removeprefix(f"{inner_j[0]}/").count("/") == 0 for leaf in leaves)
    if len(inner_t) == len(inner_j) == 1 and not holds_its_own and len(outer_t) != len(outer_j):
        return _nested([*outer_t, *inner_t], [*outer_j, *inner_j], apart)
    return [(inner_t, inner_j), *_nested(outer_t, outer_j, apart)]


LONGEST_CHAIN = 6
"""How many modules around the same weights are tried in every combination: 6 against 3 are 20 of them."""


def _nested(torch: list[str], jax: list[str], apart: Callable[[str, str], float]) -> list[tuple[list[str], list[str]]]:
    """Pair two chains of modules, each inside of the one before, by the likeness of what they return."""
    # a layer shared by many has as many wrappers, which are no chain: only the outermost are paired
    torch, jax = ((chain if len(chain) <= LONGEST_CHAIN else chain[:1]) for chain in (torch, jax))
    count = min(len(torch), len(jax))
    options = itertools.product(itertools.combinations(torch, count), itertools.combinations(jax, count))
    # of two that fit alike the innermost
    # 1e9 stands for "cannot be laid over one another": it is added up, and a sum with infinity would rank nothing
    best = min(reversed(list(options)), key=lambda both: sum(min(apart(t, j), 1e9) for t, j in zip(*both, strict=True)))
    return [([t], [j]) for t, j in zip(*best, strict=True)]


def _apart(calls: list[Call], natural: Natural, order: list[Slot], torch: str, jax: str) -> float:
    """Return how far the first outputs of two modules lie apart."""
    theirs = next((c.output for c in calls if c.path == torch and c.output is not None), None)
    ours = next((natural.outputs[slot] for slot in order if slot[0] == jax and slot in natural.outputs), None)
    if theirs is None or ours is None:
        return np.inf
    layout = layout_of(theirs, ours)
    return np.inf if layout is None else relative(ours, theirs.transpose(layout))


def _zip_calls(
    torch: list[str], jax: list[str], calls: list[Call], natural: Natural, order: list[Slot]
) -> list[Aligned]:
    """Pair the calls of two groups of modules in order, where their outputs can be laid over one another."""
    theirs = [c for c in calls if c.path in torch and c.output is not None]
    ours = [slot for slot in order if slot[0] in jax and slot in natural.outputs]
    # one iterator for all calls: a slot that is passed over is not taken by a later call, so that the order is kept
    found, rest = [], iter(ours)
    for call in theirs:
        for slot in rest:
            assert call.output is not None
            output = natural.outputs[slot]
            shape: tuple[int, ...] = ()
            layout = layout_of(call.output, output)
            if layout is None:
                shape = _cut(call, output)
                layout = layout_of(call.output[tuple(slice(0, n) for n in shape)], output) if shape else None
            if layout is not None:
                found.append(Aligned(call, slot, layout, shape))
                break
    return found


def _cut(call: Call, output: np.ndarray) -> tuple[int, ...]:
    """Return the shape, as JAX has it, of a sequence that torch pads on both sides and cuts to its input's length."""
    made, given = call.output, call.inputs[0] if call.inputs else None
    if made is None or given is None or made.ndim != 3 or given.ndim != 3 or "Conv" not in call.kind:
        return ()
    length = given.shape[2]
    shape = (*made.shape[:2], length)
    return shape if made.shape[2] > length and sorted(shape) == sorted(output.shape) else ()


def _by_name(
    torch: list[str], jax: list[str], pairs: dict[str, str], calls: list[Call], natural: Natural, order: list[Slot]
) -> list[Aligned]:
    """Pair layers without weights whose parents are paired and whose own names are alike."""
    found = []
    for path in torch:
        parent, _, name = path.rpartition(".")
        if parent not in pairs:
            continue
        wanted = "/".join(filter(None, (pairs[parent], name)))
        if wanted in jax:
            found += _zip_calls([path], [wanted], calls, natural, order)
    return found


def reference(bound: Any, aligned: list[Aligned], natural: Natural) -> dict[Slot, Reference]:
    """Return what the reference saw in every paired call, laid out as JAX has it."""
    plan = {}
    for pair in aligned:
        call, taken = pair.call, natural.inputs.get(pair.slot, [])
        inputs, cotangents, through = {}, {}, set()
        places = _argument_places(call, taken)
        for i, value in enumerate(call.inputs):
            place = places.get(i, i)
            if value is None or call.same[i] != i or value.dtype.kind != "f" or place >= len(taken):
                continue
            given = taken[place]
            layout = None if given is None else _input_layout(bound, pair, value, given)
            padded = None if given is None or layout is not None else _padded(bound, pair, value, given)
            if padded is not None:
                inputs[place] = padded
                through.add(place)
            if layout is not None:
                inputs[place] = layout(value)
                if i in call.tracked:
                    cotangents[place] = layout(call.input_grads.get(i, np.zeros_like(value)))
        assert call.output is not None
        grad = np.zeros_like(call.output) if call.output_grad is None else call.output_grad
        cut = tuple(slice(0, n) for n in pair.shape) if pair.shape else ()
        output, grad = call.output[cut], grad[cut]
        plan[pair.slot] = Reference(
            inputs, cotangents, output.transpose(pair.layout), grad.transpose(pair.layout), frozenset(through)
        )
    return plan


def _padded(bound: Any, pair: Aligned, value: np.ndarray, taken: np.ndarray) -> np.ndarray | None:
    """Return an input as a port has it that pads by hand, where torch's layer does the padding itself."""
    import torch

    module = dict(bound.torch.module.named_modules()).get(pair.call.path)
    pad = getattr(module, "padding", None)
    if not isinstance(pad, tuple) or value.ndim != taken.ndim or not any(pad):
        return None
    mode = getattr(module, "padding_mode", "zeros")
    sides = [p for side in reversed(pad) for p in (side, side)]
    made = torch.nn.functional.pad(torch.from_numpy(value.copy()), sides, mode="constant" if mode == "zeros" else mode)
    axes = layout_of(made.numpy(), taken)
    return None if axes is None else made.numpy().transpose(axes)


@dataclasses.dataclass
class Steps:
    """A recurrence that is one call in torch, and one call of its cell a step in JAX."""

    call: Call
    slots: list[Slot]
    axis: int
    """The axis of time of torch's output."""

    def states(self) -> dict[Slot, np.ndarray]:
        """Return the reference's state after each step."""
        assert self.call.output is not None
        return {slot: self.call.output.take(t, self.axis) for t, slot in enumerate(self.slots)}


def steps_of(bound: Any, calls: list[Call], aligned: list[Aligned], natural: Natural, order: list[Slot]) -> list[Steps]:
    """Return the recurrences whose cell JAX calls once a step."""
    below_torch, below_jax = _leaves_below(bound)
    taken = {id(a.call) for a in aligned}
    found = []
    for call in calls:
        leaves = below_torch(call.path) if call.path else frozenset()
        if id(call) in taken or call.output is None or call.output.ndim != 3 or not leaves:
            continue
        slots = [s for s in order if s[0] and below_jax(s[0]) == leaves and s in natural.outputs]
        # a wrapper of the cell has the same weights
        paths = {s[0] for s in slots}
        slots = [s for s in slots if not any(s[0].startswith(f"{p}/") for p in paths)]
        for axis in (1, 0):
            step = tuple(n for a, n in enumerate(call.output.shape) if a != axis)
            alike = all(natural.outputs[s].shape == step for s in slots)
            if len(slots) == call.output.shape[axis] > 1 and alike:
                found.append(Steps(call, slots, axis))
                break
    return found


def _argument_places(call: Call, taken: list[np.ndarray | None]) -> dict[int, int]:
    """Return where JAX takes an argument that torch takes elsewhere: a recurrent cell's state and input change places.

    A cell may be written either way, so that the values decide; where neither fits, Flax's order is taken.
    """
    if not (call.cell or call.kind.endswith("Cell")) or len(call.inputs) > 2 or len(taken) < 2:
        return {}
    x = call.inputs[0]

    def distance(given: np.ndarray | None) -> float:
        return np.inf if x is None or given is None or given.shape != x.shape else float(np.linalg.norm(given - x))

    return {} if distance(taken[0]) < distance(taken[1]) else {0: 1, 1: 0}


def _input_layout(bound: Any, pair: Aligned, value: np.ndarray, taken: np.ndarray) -> Any:
    """Return the function that lays an input out as JAX has it; a flattened image may need its axes turned."""
    image = bound.flattened.get(pair.call.path)
    if image is not None and value.shape == taken.shape:
        return functools.partial(_turn, image=image)
    axes = layout_of(value, taken)
    return None if axes is None else functools.partial(np.transpose, axes=axes)


def _turn(x: np.ndarray, image: tuple[int, ...]) -> np.ndarray:
    """Return flattened images with their channels last."""
    return x.reshape(len(x), *image).transpose(0, 2, 3, 1).reshape(x.shape)

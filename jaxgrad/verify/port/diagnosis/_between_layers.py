"""Causes in the code between layers: activations, sums, pools, resizing, the order of axes."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, RECOGNISED, SOME_POSITIONS
from jaxgrad.verify.port.diagnosis._attention import attention_between, pooled_attention
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._combined import combined, constant, multiplied, rolled
from jaxgrad.verify.port.diagnosis._convolution import padded_by_hand
from jaxgrad.verify.port.diagnosis._evidence import Evidence, attempt, proven_here
from jaxgrad.verify.port.diagnosis._gates import branch_scale, gated, gated_sum, name_of_activation, other_addend
from jaxgrad.verify.port.diagnosis._graphs import messages, of_graphs
from jaxgrad.verify.port.diagnosis._images import pool, resize
from jaxgrad.verify.port.diagnosis._interventions import layer_left_out, other_function, wired
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, ratio, recognise, same
from jaxgrad.verify.port.diagnosis._layers import in_layer
from jaxgrad.verify.port.diagnosis._masks import added_mask
from jaxgrad.verify.port.diagnosis._per_row import row_factor, row_shift
from jaxgrad.verify.port.diagnosis._rearranged import LATEST, held, joined, permuted, reduced, shuffled
from jaxgrad.verify.port.diagnosis._sequences import recurrent
from jaxgrad.verify.port.diagnosis._sums import combination, residual, scaled
from jaxgrad.verify.port.diagnosis._tables import sinusoids
from jaxgrad.verify.port.frameworks._layer_settings import torch_configs
from jaxgrad.verify.report._records import Cause

__all__ = ["between"]


def between(e: Evidence) -> list[Cause]:
    """Return the causes of an error of the code between two layers."""
    whole = _searched(e)
    if any(one.proven for one in whole):
        return whole
    narrow = _searched(_narrowed(e))
    return (narrow if any(one.proven for one in narrow) else whole or narrow) or attempt(_parts, e)


def _searched(e: Evidence | None) -> list[Cause]:
    """Return the first cause that is proven, or else the first that is likely."""
    likely: list[Cause] = []
    for find in SEARCHES if e is not None else ():
        assert e is not None
        found = attempt(find, e)
        if any(one.proven for one in found):
            return found
        likely = likely or found
    return likely


def _narrowed(e: Evidence) -> Evidence | None:
    """Return the evidence of the one block of an axis that differs: what is joined is made by different code."""
    if e.want.shape != e.got.shape or e.want.ndim < 2:
        return None
    apart = np.abs(e.want - e.got)
    for axis in (e.want.ndim - 1, 1):
        others = tuple(a for a in range(e.want.ndim) if a != axis)
        wrong = np.flatnonzero(apart.max(others) > RECOGNISED * np.abs(e.want).max())
        if 0 < len(wrong) < e.want.shape[axis]:
            # the parts of a joined array are as wide as what was joined
            low, high = int(wrong[0]), int(wrong[-1]) + 1
            chosen = tuple(slice(low, high) if a == axis else slice(None) for a in range(e.want.ndim))
            return dataclasses.replace(e, want=e.want[chosen], got=e.got[chosen])
    return None


def _lone_layer(e: Evidence) -> list[Cause]:
    """A torch layer that is no layer in JAX, as a cell that is written out: its output is what arrives here."""
    lone = e.lone
    if lone is None or lone.output is None or not lone.inputs or lone.inputs[0] is None:
        return []
    settings = torch_configs(e.bound.torch.module)[lone.path]
    here = dataclasses.replace(e, pair=dataclasses.replace(e.pair, call=lone), torch=settings,
                               inputs=[x for x in lone.inputs if x is not None])  # fmt: skip
    if lone.kind in ("LSTM", "GRU"):
        return recurrent(here, lone.output)
    axes = layout_of(lone.output, e.want)
    weights = any(n.startswith(f"{lone.path}.") for n in e.bound.torch.params)
    if axes is None or not weights or not same(lone.output.transpose(axes), e.want) or e.want.shape != e.got.shape:
        return []
    back = np.argsort(axes)
    return in_layer(dataclasses.replace(here, want=lone.output, got=e.got.transpose(back)))


def _activation(e: Evidence) -> list[Cause]:
    """Both sides apply a known function to the same array, but not the same one; or to different arrays."""
    # a torch layer without a partner returns what is wanted here: look behind it first
    behind = {name: x for name, x in e.sources.items() if x.shape != e.want.shape or not same(x, e.want)}
    theirs = recognise(e.want, behind) or recognise(e.want, e.sources)
    ours = recognise(e.got, behind) or recognise(e.got, e.sources)
    if theirs is None or ours is None or theirs == ours:
        return _after_function(e) if theirs is None or ours is None else []
    if theirs[0] == ours[0]:
        # the function of a sum, of which JAX has one addend, is no layer that is fed by another
        found = attempt(residual, e) or attempt(wired, e)
        text = f"JAX takes {ours[1]} where torch takes {theirs[1]}."
        return found or proven_here(e, "wiring", text, f"Feed it {theirs[1]}.")
    name = name_of_activation(theirs[0], ours[0])
    its, mine = (label.replace("the identity", "nothing") for label in (theirs[0], ours[0]))
    fix = "Leave it out." if its == "nothing" else f"Apply {its} in JAX."
    if its == "nothing" and e.sources[theirs[1]].min(initial=0.0) >= 0 and ours[1] == theirs[1]:
        # no number of this batch is negative, so that a relu shows nowhere but in JAX's other function
        its, fix = "relu or nothing, which are the same on this batch", "Apply relu if torch does, and else nothing."
    return proven_here(e, name, f"JAX applies {mine} where torch applies {its}.", fix)


def _after_function(e: Evidence) -> list[Cause]:
    """One side is a known function of the other."""
    if np.unique(e.want).size <= 2:
        # what two numbers become, as those of a mask, is no evidence of a function
        return []
    with np.errstate(all="ignore"):
        for label, fun in ELEMENTWISE.items():
            if label == "the identity":
                continue
            if same(fun(e.want), e.got):
                return proven_here(e, "activation", f"JAX applies {label} where torch does not.", "Leave it out.")
            if same(fun(e.got), e.want):
                return proven_here(e, "activation-missing", f"torch applies {label}, JAX does not.", f"Apply {label}.")
    return []


def _temperature(e: Evidence) -> list[Cause]:
    """Both sides take the softmax of one array, of different multiples of it."""
    if e.want.shape != e.got.shape or not e.want.size or min(e.want.min(), e.got.min()) <= 0:
        return []
    for axis in dict.fromkeys((e.want.ndim - 1, min(1, e.want.ndim - 1))):
        if not all(same(x.sum(axis), np.ones_like(x.sum(axis))) for x in (e.want, e.got)):
            continue
        logs = [np.log(x) - np.log(x).mean(axis, keepdims=True) for x in (e.want, e.got)]
        for name, x in e.sources.items():
            # what a softmax adds to every entry of a row is the same
            theirs, ours = (ratio(one, x - x.mean(axis, keepdims=True)) for one in logs)
            if theirs and ours and abs(ours - theirs) > NAMED_FACTOR * abs(theirs):
                text = f"JAX takes the softmax of {name} times {ours:.6g}, torch times {theirs:.6g}."
                return proven_here(e, "temperature", text)
    return []


def _axes(e: Evidence) -> list[Cause]:
    """The same numbers in another order: axes exchanged, rolled, flattened otherwise."""
    if e.want.shape != e.got.shape:
        return []
    for axis in range(e.want.ndim):
        if e.want.shape[axis] > 1 and same(np.flip(e.want, axis), e.got):
            return proven_here(e, "axis-order", f"JAX's array is reversed along axis {axis}.", "Reverse it back.")
    for i, j in itertools.combinations(range(e.want.ndim), 2):
        shape = list(e.want.shape)
        shape[i], shape[j] = shape[j], shape[i]
        # also where the two were told apart in the wrong order, and laid out as they should be only then
        if same(e.want.reshape(shape).swapaxes(i, j), e.got):
            text = f"JAX's array has axes {i} and {j} exchanged."
            return proven_here(
                e, "axis-order", text, "Leave the two axes as torch has them, also in the reshape before."
            )
    for call in e.before[::-1][:LATEST]:
        if call.output is not None and call.output.ndim == 4 and e.want.ndim == 3 and call.output.size == e.want.size:
            # positions of an image, channels last: by rows or by columns
            rows, columns = (
                np.transpose(call.output, axes).reshape(e.want.shape) for axes in ((0, 2, 3, 1), (0, 3, 2, 1))
            )
            if same(rows, e.want) and same(columns, e.got):
                text = f"JAX reads the pixels of {call.path} by columns, torch by rows."
                return proven_here(e, "axis-order", text, "Reshape without exchanging height and width.")
        for words, theirs, ours in _reshaped(call.output, e.want.shape):
            if same(theirs, e.want) and same(ours, e.got):
                text = f"JAX reshapes {call.path} with its channels last, torch with its channels first, {words}."
                return proven_here(
                    e, "axis-order", text, "Move the channels to where torch has them before the reshape."
                )
    if same(np.sort(e.want.ravel()), np.sort(e.got.ravel())):
        # the numbers are the same, and which rearrangement it was is not known: nothing is proven
        text = "JAX has the same numbers in another order."
        fix = "Compare the reshapes, transposes and rolls between the two layers."
        return [cause("axis-order", text, fix, e.first.path)]
    return []


def _reshaped(x: np.ndarray | None, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield what a reshape makes of an array of torch's with its channels first, and with its channels last."""
    if x is None or x.size != math.prod(shape):
        return
    if x.ndim > max(2, len(shape)):
        yield "flattening it", x.reshape(shape), np.moveaxis(x, 1, -1).reshape(shape)
    if len(shape) > max(2, x.ndim):
        # what is compared has its channels last
        first = x.reshape(shape[0], shape[-1], *shape[1:-1])
        yield "making an image of it", np.moveaxis(first, 1, -1), x.reshape(shape)


def _parts(e: Evidence) -> list[Cause]:
    """Only some positions differ."""
    if e.want.shape != e.got.shape or e.want.ndim < 3:
        return []
    bad = np.abs(e.got - e.want).max(axis=tuple(range(2, e.want.ndim))) > RECOGNISED * np.abs(e.want).max()
    if 0 < bad.mean() <= SOME_POSITIONS:
        rows = [int(i) for i in np.flatnonzero(bad.any(0))[:5]]
        return [cause("positions", f"only some positions differ (along axis 1: {rows}).", "", e.first.path)]
    return []


SEARCHES = (padded_by_hand, added_mask, _lone_layer, _activation, gated, branch_scale, residual, other_addend,
            combined, scaled, combination, row_factor, row_shift, reduced, wired, pool, resize, sinusoids, constant,
            _temperature,
            attention_between, pooled_attention, messages, of_graphs, multiplied, held, joined, shuffled, permuted,
            rolled, _axes, gated_sum, layer_left_out, other_function)  # fmt: skip
"""What is tried in the code between two layers, the cheapest and plainest first."""

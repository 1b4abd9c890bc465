"""Causes in the code between layers: activations, sums, pools, resizing, the order of axes."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, NO_ADDEND, RECOGNISED, SOME_POSITIONS
from jaxgrad.verify.port.diagnosis._attention import attention_between, pooled_attention
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._combined import combined, constant, multiplied, rolled
from jaxgrad.verify.port.diagnosis._convolution import padded_by_hand
from jaxgrad.verify.port.diagnosis._evidence import Evidence, attempt
from jaxgrad.verify.port.diagnosis._gates import branch_scale, gated, name_of_activation, other_addend
from jaxgrad.verify.port.diagnosis._interventions import layer_left_out, other_function, wired
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, pairs_of, ratio, recognise, same, special_ratio
from jaxgrad.verify.port.diagnosis._layers import in_layer
from jaxgrad.verify.port.diagnosis._per_row import row_factor, row_shift
from jaxgrad.verify.port.diagnosis._rearranged import LATEST, held, joined, permuted, reduced, shuffled
from jaxgrad.verify.port.diagnosis._sequences import recurrent
from jaxgrad.verify.port.diagnosis._tables import sinusoids
from jaxgrad.verify.port.frameworks._layer_settings import torch_configs
from jaxgrad.verify.report._records import Cause

__all__ = ["between"]


MOST_ADDENDS = 8
"""How many arrays a sum is taken apart into, the latest first."""


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


def _cause(e: Evidence, name: str, text: str, mend: str = "") -> list[Cause]:
    """Return one proven cause."""
    return [cause(name, text, mend, e.first.path, proven=True)]


def _lone_layer(e: Evidence) -> list[Cause]:
    """A torch layer that is no layer in JAX, as a cell that is written out: its output is what arrives here."""
    lone = e.lone
    if lone is None or lone.output is None or not lone.inputs or lone.inputs[0] is None:
        return []
    settings = torch_configs(e.bound.torch.module)[lone.path]
    here = dataclasses.replace(e, pair=dataclasses.replace(e.pair, call=lone), torch=settings,
                               inputs=[x for x in lone.inputs if x is not None])  # fmt: skip
    if lone.kind in ("LSTM", "GRU"):
        return recurrent(here)
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
        found = attempt(wired, e)
        text = f"JAX takes {ours[1]} where torch takes {theirs[1]}."
        return found or _cause(e, "wiring", text, f"Feed it {theirs[1]}.")
    name = name_of_activation(theirs[0], ours[0])
    return _cause(e, name, f"JAX applies {ours[0]} where torch applies {theirs[0]}.", f"Apply {theirs[0]} in JAX.")


def _after_function(e: Evidence) -> list[Cause]:
    """One side is a known function of the other."""
    with np.errstate(all="ignore"):
        for label, fun in ELEMENTWISE.items():
            if label == "the identity":
                continue
            if same(fun(e.want), e.got):
                return _cause(e, "activation", f"JAX applies {label} where torch does not.", "Leave it out.")
            if same(fun(e.got), e.want):
                return _cause(e, "activation-missing", f"torch applies {label}, JAX does not.", f"Apply {label}.")
    return []


def _sum(e: Evidence) -> list[Cause]:
    """A residual left out, added twice, or taken from another place; a dropped addend."""
    for a, x, b, y in pairs_of(e.sources):
        for label, fun in (("", ELEMENTWISE["the identity"]), ("relu of ", ELEMENTWISE["relu"])):
            if not same(fun(x + y), e.want):
                continue
            for words, made in ((a, x), (b, y)):
                if same(fun(made), e.got) or same(made, e.got):
                    return _cause(e, "residual", f"JAX passes {words} on alone; torch adds {b if words == a else a}.",
                                  "Add the residual.")  # fmt: skip
            for words, made in ((f"{a} twice", 2 * x + y), (f"{b} twice", x + 2 * y)):
                if same(fun(made), e.got):
                    return _cause(e, "residual", f"JAX adds {words}.", "Add it once.")
            if same(x + ELEMENTWISE["relu"](y), e.got) or same(y + ELEMENTWISE["relu"](x), e.got) or same(x + y, e.got):
                return _cause(e, "residual-order", f"torch takes {label}the sum, JAX applies it before or not at all.",
                              "Apply the activation after the addition.")  # fmt: skip
            for name, z in e.sources.items():
                for words, made in ((a, x), (b, y)):
                    if z.shape == x.shape and same(fun(made + z), e.got):
                        return _cause(e, "residual", f"JAX adds {name} to {words}.", f"Add {b if words == a else a}.")
    return []


def _scaled(e: Evidence) -> list[Cause]:
    """A constant factor, also of one addend."""
    sizes = {"the width": e.want.shape[-1]} if e.want.ndim else {}
    factor = ratio(e.got, e.want)
    if factor is not None and not _plain(factor):
        return _cause(
            e, "scale", f"JAX's array is {special_ratio(factor, sizes)} times torch's.", "Use the same factor."
        )
    for name, source in e.sources.items():
        if source.shape != e.want.shape:
            continue
        rest, other = e.want - source, e.got - source
        factor = ratio(other, rest) if rest.any() else None
        if factor is not None:
            if abs(factor) < NO_ADDEND:
                added = _addend(e, rest)
                text = f"torch adds {added or 'something'} to {name}, JAX does not."
                # what is not known cannot be added: it is a place to look at
                return [cause("addend-missing", text, "Add it.", e.first.path, proven=bool(added))]
            if _plain(factor):
                continue
            text = f"what JAX adds to {name} is {special_ratio(factor, sizes)} times what torch adds."
            return _cause(e, "scale", text, "Use the same factor.")
        factor = ratio(e.got - e.want, source) if source.any() else None
        if factor is not None and abs(factor + 1) <= NAMED_FACTOR:
            return _cause(e, "addend-missing", f"torch adds {name}, JAX does not.", "Add it.")
        if factor is not None and abs(factor - 1) <= NAMED_FACTOR:
            return _cause(e, "residual", f"JAX adds {name} once more than torch.", "Add it as often as torch does.")
        if factor is not None and abs(factor) > NO_ADDEND:
            text = f"JAX has {special_ratio(factor, sizes)} times {name} more than torch."
            return _cause(e, "scale", text, f"Scale {name} as torch does.")
    return []


def _combination(e: Evidence) -> list[Cause]:
    """Sums of the same arrays with other factors."""
    held: dict[str, np.ndarray] = {}
    for name, x in e.sources.items():
        if x.shape == e.want.shape and not any(same(x, y) for y in held.values()):
            held[name] = x
    held = dict(list(held.items())[:MOST_ADDENDS])
    if len(held) < 2 or e.want.size <= len(held) or e.want.shape != e.got.shape:
        return []
    columns = np.stack([x.ravel() for x in held.values()], 1)
    theirs, ours = (np.linalg.lstsq(columns, x.ravel())[0] for x in (e.want, e.got))
    if not (same(columns @ theirs, e.want.ravel()) and same(columns @ ours, e.got.ravel())):
        return []
    rows = [(n, t, o) for n, t, o in zip(held, theirs, ours, strict=True) if abs(t - o) > NAMED_FACTOR]
    told = "; ".join(f"{_times(o, n)} for torch's {_times(t, n)}" for n, t, o in rows)
    left = any(abs(o) < NAMED_FACTOR or abs(t) < NAMED_FACTOR for _, t, o in rows)
    return _cause(e, "residual" if left else "scale", f"JAX adds {told}.") if rows else []


def _times(factor: float, name: str) -> str:
    """Return a multiple of an array in words."""
    for plain, words in ((1, name), (0, f"nothing of {name}"), (-1, f"minus {name}")):
        if abs(factor - plain) <= NAMED_FACTOR:
            return words
    return f"{special_ratio(factor, {})} times {name}"


def _plain(factor: float) -> bool:
    """Say whether a factor is 1, or nothing at all: neither explains a difference."""
    return abs(factor - 1) <= NAMED_FACTOR or abs(factor) <= NO_ADDEND


def _addend(e: Evidence, rest: np.ndarray) -> str:
    """Return the name of what torch adds, where it is at hand: an array, or a parameter that every example shares."""
    held = {**e.sources, **{n: x for n, x in e.under().items() if x.dtype.kind == "f"}}
    with np.errstate(all="ignore"):
        wide = {name: _broadcast(x, rest.shape) for name, x in held.items()}
    return next((name for name, x in wide.items() if x is not None and same(x, rest)), "")


def _broadcast(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array as it broadcasts to a shape, or ``None``."""
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        return None


def _pool(e: Evidence) -> list[Cause]:
    """Maximum against mean, padding counted or not, the border."""
    import torch

    if e.lone is None or "Pool" not in e.lone.kind or e.lone.inputs[0] is None or e.lone.inputs[0].ndim != 4:
        return []
    f, x = torch.nn.functional, torch.from_numpy(e.lone.inputs[0].copy())
    module = dict(e.bound.torch.module.named_modules())[e.lone.path]
    size, stride = getattr(module, "kernel_size", 2), getattr(module, "stride", 2)
    pad = getattr(module, "padding", 0)
    target = _laid_like(e.got, e.lone.output)
    for name, words, run in (
        ("pool-kind", "takes the mean", lambda: f.avg_pool2d(x, size, stride, pad)),
        ("pool-count", "leaves the padding out of the mean",
         lambda: f.avg_pool2d(x, size, stride, pad, count_include_pad=False)),
        ("pool-kind", "takes the maximum", lambda: f.max_pool2d(x, size, stride, pad)),
        ("pool-kind", "takes the maximum of everything", lambda: x.amax((2, 3), keepdim=True)),
    ):  # fmt: skip
        try:
            made = run().numpy()
        except RuntimeError:
            continue
        if target is not None and (same(made, target) or same(made.reshape(len(made), -1), e.got)):
            return _cause(e, name, f"the pool of JAX {words}; torch's is {module}.", "Pool alike.")
    return []


def _laid_like(array: np.ndarray, like: Any) -> np.ndarray | None:
    """Return an array of channels last in torch's layout."""
    if like is None or array.ndim != like.ndim:
        return None if like is None or array.size != like.size else array.reshape(like.shape)
    moved = np.moveaxis(array, -1, 1) if array.ndim == 4 else array
    return moved if moved.shape == like.shape else array


def _resize(e: Evidence) -> list[Cause]:
    """Interpolation: antialiasing, corners, the cubic kernel, pixel centres."""
    import jax
    import torch

    for name, source in e.sources.items():
        if source.ndim != 4 or e.got.ndim != 4 or source.shape == e.got.shape:
            continue
        # an image before its resizing keeps torch's layout, for nothing of JAX's has its size
        for image, (want, got) in itertools.product(
            _channels_first(source), zip(*map(_channels_first, (e.want, e.got)), strict=True)
        ):
            if image.shape[:2] != want.shape[:2] or want.shape != got.shape:
                continue
            x, size = torch.from_numpy(image.copy()), want.shape[2:]
            theirs = [
                f"{mode}{', align_corners' if corners else ''}"
                for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")
                for corners in ((False, True) if mode.startswith("bi") else (None,))
                if same(torch.nn.functional.interpolate(x, size, mode=mode, align_corners=corners).numpy(), want)
            ]
            ours = [
                f"{mode}, antialias={anti}"
                for mode, anti in itertools.product(("nearest", "linear", "cubic"), (True, False))
                if same(np.asarray(jax.image.resize(image, (*image.shape[:2], *size), mode, antialias=anti)), got)
            ]
            if theirs and ours:
                text = f"torch interpolates {name} by {theirs[0]}, JAX by jax.image.resize with {ours[0]}."
                return _cause(e, "interpolation", text, "Use antialias=False, and write corners and kernels out.")
    return []


def _channels_first(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an image as it would be with its channels first: they may lie there, or last."""
    return image, np.moveaxis(image, -1, 1)


def _axes(e: Evidence) -> list[Cause]:
    """The same numbers in another order: axes exchanged, rolled, flattened otherwise."""
    if e.want.shape != e.got.shape:
        return []
    for axis in range(e.want.ndim):
        if e.want.shape[axis] > 1 and same(np.flip(e.want, axis), e.got):
            return _cause(e, "axis-order", f"JAX's array is reversed along axis {axis}.", "Reverse it back.")
    for call in e.before[::-1][:LATEST]:
        if call.output is not None and call.output.ndim == 4 and e.want.ndim == 3 and call.output.size == e.want.size:
            # positions of an image, channels last: by rows or by columns
            rows, columns = (
                np.transpose(call.output, axes).reshape(e.want.shape) for axes in ((0, 2, 3, 1), (0, 3, 2, 1))
            )
            if same(rows, e.want) and same(columns, e.got):
                text = f"JAX reads the pixels of {call.path} by columns, torch by rows."
                return _cause(e, "axis-order", text, "Reshape without exchanging height and width.")
        for words, theirs, ours in _reshaped(call.output, e.want.shape):
            if same(theirs, e.want) and same(ours, e.got):
                text = f"JAX reshapes {call.path} with its channels last, torch with its channels first, {words}."
                return _cause(e, "axis-order", text, "Move the channels to where torch has them before the reshape.")
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


SEARCHES = (padded_by_hand, _lone_layer, _activation, gated, branch_scale, _sum, other_addend, combined, _scaled, _combination,
            row_factor, row_shift, reduced, wired, _pool, _resize, sinusoids, constant, attention_between,
            pooled_attention, multiplied, held, joined, shuffled, permuted, rolled, _axes, layer_left_out,
            other_function)  # fmt: skip
"""What is tried in the code between two layers, the cheapest and plainest first."""

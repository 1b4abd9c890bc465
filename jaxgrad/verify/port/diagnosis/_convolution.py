"""Causes inside of a convolution: padding, the kernel's axes, dilation, the norm of a normalised weight."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["convolution", "kernels", "padded_by_hand"]

IDS = {"weight": "weight-norm", "flip": "flipped-kernel", "turned": "kernel-axes", "sides": "padding",
       "mode": "padding-mode", "dilation": "dilation", "stride": "stride", "bias": "bias-missing",
       "grouping": "feature-groups", "start": "padding"}  # fmt: skip
"""The cause that a setting stands for."""


def convolution(e: Evidence) -> list[Cause]:
    """Padding, a flipped or transposed kernel, stride, dilation, groups, the norm of the weight."""
    weights = kernels(e)
    if not weights or e.want.ndim not in (3, 4) or not e.inputs:
        return []
    transposed = bool(e.torch.get("transposed"))
    e = e if transposed else _without_padding_before(e)
    settings = _transposed_settings(e) if transposed else _settings(e)
    shared = {
        "weight": tuple(Option(n, n) for n in weights),
        "flip": (Option(False, "the kernel as it is"), Option(True, "the kernel flipped")),
        "turned": (Option(False, "the kernel as it is"), Option(True, "height and width of the kernel exchanged"))
        if e.want.ndim == 4 else (Option(False, "the kernel as it is"),),
        "bias": (Option(True, "the bias"), Option(False, "no bias")) if e.weight("bias") is not None
        else (Option(False, "no bias"),),
    }  # fmt: skip
    compute = _transposed if transposed else _plain
    family = Family(lambda **s: compute(e, weights, **s), {**settings, **shared}, ("weight",))
    found = match(family, e.want, e.got)
    if found:
        mode = f"Pad in torch's mode ({e.torch.get('padding_mode')}) before the layer, and give padding='VALID'."
        before = e.torch.get("before") or [(0, 0)] * (e.want.ndim - 2)
        numbers = [(p + a, p + b) for p, (a, b) in zip(_numbers(e, "padding", 0), before, strict=True)]
        mends = {"sides": "" if e.pair.shape else f"Give padding={numbers} to the JAX layer.",
                 "dilation": f"Give kernel_dilation={_numbers(e, 'dilation', 1)}.", "mode": mode}  # fmt: skip
        return [
            cause(IDS[c.setting], f"JAX has {c.ours.words}, torch {c.theirs.words}.",
                  "" if transposed else mends.get(c.setting, ""), e.pair.call.path, proven=True)
            for c in found
        ]  # fmt: skip
    inner = tuple(slice(None) if i < 2 else slice(2, -2) for i in range(e.want.ndim))
    if e.got.shape == e.want.shape and e.want[inner].size and same(e.got[inner], e.want[inner]):
        return [cause("padding", "only the pixels at the border differ.", "Give the same padding.", e.pair.call.path)]
    return []


NUMPY_MODES = {"constant": "zeros", "reflect": "reflected values", "edge": "the values of the edge",
               "wrap": "circular values", "symmetric": "mirrored values with the edge twice"}  # fmt: skip


def padded_by_hand(e: Evidence) -> list[Cause]:
    """The border that a port pads by hand holds other values than those with which torch's layer pads."""
    if e.inner is None or e.want.shape != e.got.shape:
        return []
    plain = e.want[e.inner]
    sides = [(cut.start, size - cut.stop) for cut, size in zip(e.inner, e.want.shape, strict=True)]
    made = {words: np.pad(plain, sides, mode) for mode, words in NUMPY_MODES.items()}  # type: ignore[call-overload]
    theirs, ours = (next((w for w, x in made.items() if same(x, side)), None) for side in (e.want, e.got))
    if theirs is None or ours is None or theirs == ours:
        return []
    text = f"JAX pads by hand with {ours}, torch's layer with {theirs}."
    return [cause("padding-mode", text, f"Pad with {theirs}.", e.first.path, proven=True)]


def kernels(e: Evidence) -> dict[str, np.ndarray]:
    """Return the kernel; of a normalised one what the norms over other axes would make of it."""
    plain = e.weight("weight")
    if plain is not None:
        return {"the kernel": plain}
    for g_name, v_name in (("parametrizations.weight.original0", "parametrizations.weight.original1"),
                           ("weight_g", "weight_v")):  # fmt: skip
        g, v = e.weight(g_name), e.weight(v_name)
        if g is None or v is None:
            continue
        kept = next((a for a, n in enumerate(g.shape) if n > 1), 0)
        every = tuple(range(v.ndim))
        forms = {
            f"the norm over all axes but {kept}": tuple(a for a in every if a != kept),
            "the norm over all axes": every,
        }
        forms |= {f"the norm over axis {a}": (a,) for a in every}
        made = {words: g * v / np.sqrt((v**2).sum(axes, keepdims=True)) for words, axes in forms.items()}
        return {**made, "no norm": v, "the norm without its length": v / np.sqrt((v**2).sum(forms[next(iter(forms))],
                keepdims=True))}  # fmt: skip
    return {}


def _without_padding_before(e: Evidence) -> Evidence:
    """Return the evidence with the input before torch's code pads it, where JAX's layer is given that."""
    assert e.passes is not None
    taken = next((x for x in e.passes.natural.inputs.get(e.pair.slot, []) if x is not None), None)
    padded = e.inputs[0]
    if taken is None or taken.ndim != padded.ndim or padded.shape[2:] == taken.shape[1:-1]:
        return e
    room = [a - b for a, b in zip(padded.shape[2:], taken.shape[1:-1], strict=True)]
    ran = [call for call in e.passes.trace.calls if call.start < e.pair.call.start]
    held = [x for call in ran[::-1] for x in (*call.inputs, call.output)]
    shape = (*padded.shape[:2], *taken.shape[1:-1])
    for plain in (x for x in held if x is not None and x.shape == shape):
        for start in itertools.product(*(range(n + 1) for n in room)):
            window = tuple(slice(a, a + n) for a, n in zip(start, shape[2:], strict=True))
            if np.array_equal(padded[(slice(None), slice(None), *window)], plain):
                before = [(a, n - a) for a, n in zip(start, room, strict=True)]
                return dataclasses.replace(e, inputs=[plain], torch={**e.torch, "before": before})
    return e


def _numbers(e: Evidence, name: str, default: int) -> tuple[int, ...]:
    """Return a setting of torch as one number an axis."""
    value, n = e.torch.get(name, default), e.want.ndim - 2
    return tuple(value) if isinstance(value, tuple) else (0 if isinstance(value, str) else value,) * n


def _settings(e: Evidence) -> dict[str, tuple[Option, ...]]:
    """Return what may differ in a convolution."""
    n = e.want.ndim - 2
    dil, stride = (_numbers(e, k, 1) for k in ("dilation", "stride"))
    sides = {
        "torch": f"a padding of {e.torch['before']} before it" if e.torch.get("before") else "the padding it is set to",
        "start": "padding at the start only",
        "same": "'SAME' padding, which puts more at the end",
        "even": "the padding of a centred kernel",
        "end": "padding at the end only",
        "none": "no padding",
        "less": "one less padding",
        "more": "one more padding",
        "later": "padding of one more at the start",
    }
    # torch pads on both sides and cuts the end off: what is left is padded at the start
    sides = dict(sorted(sides.items(), key=lambda item: item[0] != ("start" if e.pair.shape else "torch")))
    given = "constant" if e.torch.get("padding_mode", "zeros") == "zeros" else e.torch["padding_mode"]
    modes = {"constant": "zeros", "reflect": "reflected values", "circular": "circular values",
             "replicate": "the values of the edge"}  # fmt: skip
    ordered = sorted(modes, key=lambda m: m != given)
    groups = e.torch.get("groups", 1) or 1
    return {
        "sides": tuple(Option(name, words) for name, words in sides.items()),
        "mode": tuple(Option(m, f"{modes[m]} as padding") for m in ordered),
        "dilation": tuple(Option(d, f"a dilation of {d}") for d in dict.fromkeys((dil, (1,) * n, (2,) * n))),
        "stride": tuple(Option(s, f"strides of {s}") for s in dict.fromkeys((stride, (1,) * n, (2,) * n))),
        "grouping": (Option("blocks", "channels grouped side by side"),
                     Option("turns", "channels of the groups by turns"), Option("inputs", "inputs grouped by turns"))
        if groups > 1 else (Option("blocks", "channels as they are"),),
    }  # fmt: skip


def _sides(
    e: Evidence, name: str, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Return how many entries a form of padding puts before and behind each axis."""
    found = []
    lengths = e.inputs[0].shape[2:]
    for pad, k, s, d, length in zip(_numbers(e, "padding", 0), size, stride, dilation, lengths, strict=True):
        reach = (k - 1) * d
        total = max((-(-length // s) - 1) * s + reach + 1 - length, 0)
        forms = {"torch": (pad, pad), "start": (reach, 0), "end": (0, reach), "none": (0, 0),
                 "same": (total // 2, total - total // 2), "even": (reach // 2, reach - reach // 2),
                 "less": (pad - 1, pad - 1), "more": (pad + 1, pad + 1), "later": (pad + 1, pad)}  # fmt: skip
        found.append(forms[name])
    before = e.torch.get("before") if name == "torch" else None
    return [(a + c, b + d) for (a, b), (c, d) in zip(found, before, strict=True)] if before else found


def _kernel(weights: dict[str, np.ndarray], s: dict[str, Any]) -> Any:
    """Return the kernel that settings ask for."""
    import torch

    w = torch.from_numpy(np.array(weights[s["weight"]]))
    w = w.flip(tuple(range(2, w.ndim))) if s["flip"] else w
    return w.swapaxes(2, 3) if s["turned"] else w


def _plain(e: Evidence, weights: dict[str, np.ndarray], **s: Any) -> np.ndarray | None:
    """Compute a convolution with settings; torch may cut the end of what it returns."""
    import torch

    f, n, groups = torch.nn.functional, e.want.ndim - 2, e.torch.get("groups", 1) or 1
    x, w, bias = torch.from_numpy(e.inputs[0].copy()), _kernel(weights, s), e.weight("bias")
    if s["grouping"] == "inputs":
        x = x.unflatten(1, (-1, groups)).swapaxes(1, 2).flatten(1, 2)
    sides = _sides(e, s["sides"], tuple(w.shape[2:]), s["stride"], s["dilation"])
    if any(p < 0 for side in sides for p in side):
        return None
    padded = f.pad(x, [p for side in reversed(sides) for p in side], mode=s["mode"])
    run = {1: f.conv1d, 2: f.conv2d}[n]
    b = torch.from_numpy(bias.copy()) if s["bias"] and bias is not None else None
    made = run(padded, w, b, s["stride"], 0, s["dilation"], groups)
    if s["grouping"] == "turns":
        made = made.unflatten(1, (groups, -1)).swapaxes(1, 2).flatten(1, 2)
    return made[tuple(slice(0, size) for size in e.want.shape)].numpy()


def _transposed_settings(e: Evidence) -> dict[str, tuple[Option, ...]]:
    """Return what may differ in a transposed convolution: where the output starts."""
    pad = _numbers(e, "padding", 0)
    starts = [pad] + [tuple(p + d for p in pad) for d in (-1, 1, -2, 2)]
    return {"start": tuple(Option(p, f"an output that is cut by {p} at its start") for p in starts)}


def _transposed(e: Evidence, weights: dict[str, np.ndarray], **s: Any) -> np.ndarray | None:
    """Compute a transposed convolution with settings: the whole of it, cut."""
    import torch

    f, n = torch.nn.functional, e.want.ndim - 2
    x, w, bias = torch.from_numpy(e.inputs[0].copy()), _kernel(weights, s), e.weight("bias")
    run = {1: f.conv_transpose1d, 2: f.conv_transpose2d}[n]
    groups, dilation = e.torch.get("groups", 1) or 1, _numbers(e, "dilation", 1)
    whole = run(x, w, None, _numbers(e, "stride", 1), 0, 0, groups, dilation).numpy()
    room = math.prod(e.want.shape) and max(e.want.shape[2:]) + max(map(abs, s["start"]))
    whole = np.pad(whole, [(0, 0)] * 2 + [(room, room)] * n)
    cut = tuple(slice(room + a, room + a + size) for a, size in zip(s["start"], e.want.shape[2:], strict=True))
    made = whole[(slice(None), slice(None), *cut)]
    return made + bias.reshape(-1, *[1] * n) if s["bias"] and bias is not None else made

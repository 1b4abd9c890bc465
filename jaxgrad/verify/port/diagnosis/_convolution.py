"""Causes inside of a convolution: padding, the kernel's axes, dilation."""

from typing import Any

from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["convolution"]


def convolution(e: Evidence) -> list[Cause]:
    """Padding, a flipped or transposed kernel, stride, dilation."""
    import torch

    weight, bias = e.weight("weight"), e.weight("bias")
    if weight is None:
        return []
    x, w = torch.from_numpy(e.inputs[0].copy()), torch.from_numpy(weight.copy())
    b = None if bias is None else torch.from_numpy(bias.copy())
    variants = _transposed_variants if e.torch["kind"].startswith("ConvTranspose") else _conv_variants
    for name, text, mend, compute in variants(e, torch):
        try:
            made = compute(x, w, b).numpy()
        except RuntimeError:
            continue
        if same(made, e.got):
            return proven(e, name, text, mend)
    inner = tuple(slice(None) if i < 2 else slice(2, -2) for i in range(e.want.ndim))
    if e.got.shape == e.want.shape and e.want[inner].size and same(e.got[inner], e.want[inner]):
        return [Cause("padding", "only the pixels at the border differ.", "Give the same padding.", e.pair.call.path)]
    return []


def _transposed_variants(e: Evidence, torch: Any) -> list[tuple[str, str, str, Any]]:
    """Return the ways in which a transposed convolution is commonly got wrong."""
    f, n = torch.nn.functional, e.want.ndim - 2
    stride, pad = (_tuple(e.torch.get(k, d), n) for k, d in (("stride", 1), ("padding", 0)))
    run = {1: f.conv_transpose1d, 2: f.conv_transpose2d}[n]
    space = tuple(range(2, 2 + n))
    return [
        ("flipped-kernel", "the kernel is not flipped as torch's transposed convolution needs it.",
         "Set transpose_kernel=True, or flip the spatial axes of the kernel.",
         lambda x, w, b: run(x, w.flip(space), b, stride, pad)),
        ("padding", "the output is cropped otherwise.", "Pad with kernel - 1 - padding on each side.",
         lambda x, w, b: run(x, w, b, stride, tuple(p + 1 for p in pad))),
    ]  # fmt: skip


def _conv_variants(e: Evidence, torch: Any) -> list[tuple[str, str, str, Any]]:
    """Return the ways in which a convolution is commonly got wrong."""
    f, n = torch.nn.functional, e.want.ndim - 2
    stride, pad, dil = (_tuple(e.torch.get(k, d), n) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    groups, size = e.torch.get("groups", 1), _tuple(e.torch.get("kernel_size", 1), n)
    space = tuple(range(2, 2 + n))
    run = {1: f.conv1d, 2: f.conv2d}[n]

    def padded(mode: str) -> Any:
        sides = [p for q in reversed(pad) for p in (q, q)]
        return lambda x, w, b: run(f.pad(x, sides, mode=mode), w, b, stride, 0, dil, groups)

    def same_padding(x: Any, w: Any, b: Any) -> Any:
        sides: list[int] = []
        for k in reversed(range(n)):
            out = -(-x.shape[2 + k] // stride[k])
            total = max((out - 1) * stride[k] + (size[k] - 1) * dil[k] + 1 - x.shape[2 + k], 0)
            sides += [total // 2, total - total // 2]
        return run(f.pad(x, sides), w, b, stride, 0, dil, groups)

    swapped = (0, 1, *reversed(space))
    found = [
        ("padding", "JAX pads 'SAME', more at the end than at the start, where torch pads evenly.",
         f"Give padding={[(p, p) for p in pad]} to the JAX layer.", same_padding),
        ("flipped-kernel", "the kernel is flipped: a true convolution instead of a correlation.",
         "Do not flip the spatial axes.", lambda x, w, b: run(x, w.flip(space), b, stride, pad, dil, groups)),
        ("kernel-axes", "height and width of the kernel are exchanged.", "Transpose the weight with (2, 3, 1, 0).",
         lambda x, w, b: run(x, w.permute(swapped), b, stride, pad, dil, groups)),
        ("bias-missing", "JAX leaves the bias out.", "Set use_bias=True.",
         lambda x, w, _: run(x, w, None, stride, pad, dil, groups)),
        ("dilation", "JAX uses another dilation.", f"Give kernel_dilation={dil}.",
         lambda x, w, b: run(x, w, b, stride, pad, tuple(1 for _ in dil), groups)),
    ]  # fmt: skip
    modes = [
        ("padding-mode", f"JAX pads with '{word}' where torch pads with '{e.torch.get('padding_mode')}'.",
         "Pad the image in that mode before the layer, and give padding='VALID'.", padded(mode))
        for mode, word in (("constant", "zeros"), ("reflect", "reflect"), ("circular", "circular"),
                           ("replicate", "edge"))
    ]  # fmt: skip
    return found + modes if e.torch.get("padding_mode", "zeros") == "zeros" else modes + found


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    """Return a setting as one number an axis."""
    return tuple(value) if isinstance(value, tuple) else (0 if isinstance(value, str) else value,) * n

"""Causes inside of a layer: its formula is computed again with the settings that ports confuse."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify._pair._explain._evidence import Evidence
from jaxgrad.verify._pair._explain._functions import ratio, recognise, same, special_ratio
from jaxgrad.verify._pair._report import Cause

__all__ = ["in_layer", "recurrent"]

EPSILONS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 2.220446049250313e-16)


def in_layer(e: Evidence) -> list[Cause]:
    """Return the causes of a layer's own error."""
    kind = e.torch.get("kind", "")
    table: list[tuple[Any, Callable[[Evidence], list[Cause]]]] = [
        (("Linear",), _linear),
        (("Conv1d", "Conv2d"), _conv),
        (("ConvTranspose1d", "ConvTranspose2d"), _conv),
        (("LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm2d", "InstanceNorm1d"), _norm),
        (("BatchNorm1d", "BatchNorm2d"), _batch_norm),
        (("MultiheadAttention",), _attention),
        (("LSTM", "GRU"), recurrent),
    ]
    for kinds, find in table:
        if kind in kinds and (found := find(e)):
            return found
    return _general(e)


def _proven(e: Evidence, name: str, text: str, mend: str) -> list[Cause]:
    """Return one proven cause at the layer."""
    return [Cause(name, text, mend, e.pair.call.path, proven=True)]


def _general(e: Evidence) -> list[Cause]:
    """A constant factor, an activation inside of the layer, a part left out."""
    factor = ratio(e.got, e.want)
    if factor is not None:
        sizes = {"the width": e.want.shape[-1]} if e.want.ndim else {}
        name = special_ratio(factor, sizes)
        kind = "embedding-scale" if e.torch.get("kind") == "Embedding" else "scale"
        return _proven(e, kind, f"JAX's output is {name} times torch's.", f"Divide the output by {name}.")
    found = recognise(e.got, {"torch's output": e.want})
    if found:
        return _proven(
            e, "activation", f"JAX applies {found[0]} to what torch returns.", "Apply it in the same place in both."
        )
    back = recognise(e.want, {"JAX's output": e.got})
    if back:
        return _proven(e, "activation", f"torch applies {back[0]} where JAX does not.", f"Apply {back[0]} there too.")
    return []


def _linear(e: Evidence) -> list[Cause]:
    """A transposed square kernel, a bias left out or added twice."""
    weight, bias, x = e.weight("weight"), e.weight("bias"), e.inputs[0]
    if weight is None:
        return []
    plain = e.want - (0 if bias is None else bias)
    if weight.shape[0] == weight.shape[1] and same(x @ weight + (0 if bias is None else bias), e.got):
        return _proven(
            e,
            "transposed-kernel",
            "the square kernel is used transposed: JAX computes x @ W where torch computes x @ W.T.",
            "Give the kernel as weight.T.",
        )
    if bias is not None and same(e.got, plain):
        return _proven(e, "bias-missing", "JAX leaves the bias out.", "Set use_bias=True.")
    if bias is not None and same(e.got, e.want + bias):
        return _proven(e, "bias-twice", "JAX adds the bias twice.", "Add it once.")
    return []


def _conv(e: Evidence) -> list[Cause]:
    """Padding, a flipped or transposed kernel, stride, dilation."""
    import torch

    weight, bias = e.weight("weight"), e.weight("bias")
    if weight is None:
        return []
    x, w = torch.from_numpy(e.inputs[0].copy()), torch.from_numpy(weight.copy())
    b = None if bias is None else torch.from_numpy(bias.copy())
    for name, text, mend, compute in _conv_variants(e, torch):
        try:
            made = compute(x, w, b).numpy()
        except RuntimeError:
            continue
        if same(made, e.got):
            return _proven(e, name, text, mend)
    inner = tuple(slice(None) if i < 2 else slice(2, -2) for i in range(e.want.ndim))
    if e.got.shape == e.want.shape and e.want[inner].size and same(e.got[inner], e.want[inner]):
        return [Cause("padding", "only the pixels at the border differ.", "Give the same padding.", e.pair.call.path)]
    return []


def _conv_variants(e: Evidence, torch: Any) -> list[tuple[str, str, str, Any]]:
    """Return the ways in which a convolution is commonly got wrong."""
    f, n = torch.nn.functional, e.want.ndim - 2
    stride, pad, dil = (_tuple(e.torch.get(k, d), n) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    groups, size = e.torch.get("groups", 1), _tuple(e.torch.get("kernel_size", 1), n)
    space = tuple(range(2, 2 + n))
    if e.torch["kind"].startswith("ConvTranspose"):
        run = {1: f.conv_transpose1d, 2: f.conv_transpose2d}[n]
        return [
            (
                "flipped-kernel",
                "the kernel is not flipped as torch's transposed convolution needs it.",
                "Set transpose_kernel=True, or flip the spatial axes of the kernel.",
                lambda x, w, b: run(x, w.flip(space), b, stride, pad),
            ),
            (
                "padding",
                "the output is cropped otherwise.",
                "Pad with kernel - 1 - padding on each side.",
                lambda x, w, b: run(x, w, b, stride, tuple(p + 1 for p in pad)),
            ),
        ]
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
         lambda x, w, b: run(x, w, b, stride, tuple(p for p in pad), tuple(1 for _ in dil), groups)),
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


def _norm(e: Evidence) -> list[Cause]:
    """Another epsilon, another variance, another number of groups."""
    x, scale, bias = e.inputs[0], e.weight("weight"), e.weight("bias")
    kind, eps = e.torch["kind"], e.torch.get("eps") or float(np.finfo(np.float64).eps)
    groups = e.torch.get("num_groups", 1)
    tail = len(e.torch["normalized_shape"]) if "normalized_shape" in e.torch else 1

    def normal(eps: float, ddof: int, groups: int, centre: bool, use: tuple[bool, bool]) -> np.ndarray:
        shaped = x
        if kind in ("GroupNorm", "InstanceNorm2d", "InstanceNorm1d"):
            count = groups if kind == "GroupNorm" else x.shape[1]
            shaped = x.reshape(len(x), count, -1)
            axes: tuple[int, ...] = (2,)
        else:
            axes = tuple(range(-tail, 0))
        mean = shaped.mean(axes, keepdims=True) if centre else 0.0
        n = math.prod(shaped.shape[a] for a in axes)
        power = ((shaped - mean) ** 2).sum(axes, keepdims=True) / (n - ddof)
        out = ((shaped - mean) / np.sqrt(power + eps)).reshape(x.shape)
        wide = (-1, *[1] * (x.ndim - 2)) if kind in ("GroupNorm", "InstanceNorm2d", "InstanceNorm1d") else None
        for array, factor, used in ((scale, True, use[0]), (bias, False, use[1])):
            if array is not None and used:
                array = array.reshape(wide) if wide else array
                out = out * array if factor else out + array
        return out

    centre, both = kind != "RMSNorm", (True, True)
    for other in EPSILONS:
        if same(normal(other, 0, groups, centre, both), e.got, 1e-10) and other != eps:
            return _proven(
                e, "epsilon", f"JAX's epsilon is {other:g}, torch's {eps:g}.", f"Set epsilon={eps:g} in the JAX layer."
            )
    variants = [
        ("ddof", (eps, 1, groups, centre, both), "JAX divides the variance by N - 1.", "Use ddof=0."),
        ("centring", (eps, 0, groups, not centre, both), "one side subtracts the mean and the other does not.",
         "Use LayerNorm for LayerNorm and RMSNorm for RMSNorm."),
        ("scale-missing", (eps, 0, groups, centre, (False, True)), "JAX leaves the scale out.", "Set use_scale=True."),
        ("bias-missing", (eps, 0, groups, centre, (True, False)), "JAX leaves the bias out.", "Set use_bias=True."),
    ]  # fmt: skip
    variants += [
        ("groups", (eps, 0, g, centre, both), f"JAX uses {g} groups, torch {groups}.", f"Set num_groups={groups}.")
        for g in range(1, x.shape[1] + 1 if kind == "GroupNorm" else 1)
        if x.shape[1] % g == 0 and g != groups
    ]
    for name, args, text, mend in variants:
        if same(normal(*args), e.got, 1e-10):
            return _proven(e, name, text, mend)
    close = float(np.linalg.norm(e.got - e.want)) / max(float(np.linalg.norm(e.want)), 1e-300)
    mean, std = np.abs(x.mean(-1)).max(), max(x.std(-1).min(), 1e-300)
    if mean / std > 100 and close < 1e-3:
        return [
            Cause(
                "fast-variance",
                f"the mean is {mean / std:.0f} times the deviation, and E[x^2] - E[x]^2 loses digits.",
                "Set use_fast_variance=False.",
                e.pair.call.path,
            )
        ]
    return []


def _batch_norm(e: Evidence) -> list[Cause]:
    """Batch or running statistics, epsilon, ddof."""
    x, scale, bias = e.inputs[0], e.weight("weight"), e.weight("bias")
    mean, var = e.weight("running_mean"), e.weight("running_var")
    axes = (0, *range(2, x.ndim))
    wide = (1, -1, *[1] * (x.ndim - 2))
    eps = e.torch.get("eps", 1e-5)
    trained = e.bound.torch.train

    def normal(batch: bool, eps: float, ddof: int = 0) -> np.ndarray:
        m = x.mean(axes) if batch or mean is None else mean
        n = x.size // x.shape[1]
        v = x.var(axes) * n / (n - ddof) if batch or var is None else var
        out = (x - m.reshape(wide)) / np.sqrt(v.reshape(wide) + eps)
        return out * (1 if scale is None else scale.reshape(wide)) + (0 if bias is None else bias.reshape(wide))

    if same(normal(not trained, eps), e.got):
        words = ("batch", "running") if not trained else ("running", "batch")
        return _proven(
            e,
            "batchnorm-mode",
            f"JAX normalises with the {words[0]} statistics, torch with the {words[1]} ones.",
            f"Set use_running_average={not trained}.",
        )
    for other in EPSILONS:
        if other != eps and same(normal(trained, other), e.got, 1e-10):
            return _proven(
                e, "epsilon", f"JAX's epsilon is {other:g}, torch's {eps:g}.", f"Set epsilon={eps:g} in the JAX layer."
            )
    if same(normal(trained, eps, 1), e.got):
        return _proven(e, "ddof", "JAX divides the variance by N - 1.", "Use ddof=0.")
    return []


def recurrent(e: Evidence) -> list[Cause]:
    """Another direction, another start."""
    import torch

    module = dict(e.bound.torch.at("float64").named_modules())[e.pair.call.path]
    params = {n: torch.from_numpy(np.array(w)) for n, _ in module.named_parameters() if (w := e.weight(n)) is not None}
    x, time = torch.from_numpy(e.inputs[0].copy()), 1 if e.torch.get("batch_first") else 0
    layers = e.torch.get("num_layers", 1) * (2 if e.torch.get("bidirectional") else 1)
    one = torch.ones(layers, x.shape[1 - time], module.hidden_size, dtype=x.dtype)
    start = (one, one) if e.torch["kind"] == "LSTM" else one

    def run(*args: Any) -> Any:
        with torch.no_grad():
            return torch.func.functional_call(module, params, args)[0].numpy()

    if same(np.flip(run(x.flip(time)), time), e.got) or same(run(x.flip(time)), e.got):
        return _proven(e, "direction", "JAX reads the sequence backwards.", "Set reverse=False.")
    if same(run(x, start), e.got):
        return _proven(e, "state", "JAX starts from a state of ones, torch from zeros.", "Start from zeros.")
    if time == 1 and same(run(x.swapaxes(0, 1)).swapaxes(0, 1), e.got):
        return _proven(e, "time-axis", "JAX runs along the batch axis.", "Set time_major as the data is.")
    return []


def _attention(e: Evidence) -> list[Cause]:
    """The scale of the scores, the mask, the number of heads."""
    weight, bias, out = e.weight("in_proj_weight"), e.weight("in_proj_bias"), e.weight("out_proj.weight")
    tail, x = e.weight("out_proj.bias"), e.inputs[0]
    if weight is None or out is None or x.ndim != 3 or len({id(i) for i in e.inputs}) > 3:
        return []
    if not e.torch.get("batch_first", False):
        x = x.swapaxes(0, 1)
    heads, width = e.torch["num_heads"], x.shape[-1]
    # cross attention has inputs of its own for keys and values
    other = [i if e.torch.get("batch_first", False) else i.swapaxes(0, 1) for i in (e.inputs + e.inputs[:1] * 3)[:3]]
    packed = [
        s @ w.T + (0 if bias is None else b)
        for s, w, b in zip(other, np.split(weight, 3), np.split(bias, 3) if bias is not None else [0] * 3, strict=True)
    ]

    def attend(heads: int, scale: float, mask: np.ndarray | None, axis: int = -1) -> np.ndarray:
        q, k, v = (p.reshape(*p.shape[:2], heads, -1).swapaxes(1, 2) for p in packed)
        scores = scale * q @ k.swapaxes(-1, -2)
        scores = scores if mask is None else np.where(mask, scores, -1e30)
        e_ = np.exp(scores - scores.max(axis, keepdims=True))
        mixed = (e_ / e_.sum(axis, keepdims=True)) @ v
        made = mixed.swapaxes(1, 2).reshape(*packed[0].shape[:2], -1) @ out.T + (0 if tail is None else tail)
        return made if e.torch.get("batch_first", False) else made.swapaxes(0, 1)

    shape = (packed[0].shape[1], packed[1].shape[1])
    causal, usual = np.tril(np.ones(shape, bool)), (width // heads) ** -0.5
    masks = {"no mask": None, "a causal mask": causal, "an inverted causal mask": ~causal,
             "a causal mask without the diagonal": np.tril(np.ones(shape, bool), -1),
             "an upper triangular mask": causal.T}  # fmt: skip
    if tail is not None and same(e.got, e.want - tail):
        return _proven(e, "bias-missing", "JAX leaves the bias of the output projection out.", "Set use_bias=True.")
    for label, mask in masks.items():
        if same(attend(heads, usual, mask), e.got):
            return _proven(e, "mask", f"JAX attends with {label}, torch does not.", "Give both the same mask: True"
                           " keeps in flax, drops in nn.MultiheadAttention.")  # fmt: skip
        for scale, words in (
            (1.0, "unscaled"),
            (width**-0.5, "scaled by the whole width"),
            (1 / (width // heads), "by 1/d"),
        ):
            if same(attend(heads, scale, mask), e.got):
                return _proven(e, "attention-scale", f"JAX's scores are {words}.", "Divide by sqrt(head width).")
        if same(attend(heads, usual, mask, -2), e.got):
            return _proven(e, "softmax-axis", "JAX's softmax runs over the queries.", "Take it over the keys, axis -1.")
        for h in (h for h in range(1, width + 1) if width % h == 0 and h != heads):
            if same(attend(h, (width // h) ** -0.5, mask), e.got):
                return _proven(e, "heads", f"JAX has {h} heads, torch {heads}.", f"Set num_heads={heads}.")
    return []

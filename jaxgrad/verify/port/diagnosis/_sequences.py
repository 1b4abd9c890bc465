"""Causes inside of recurrent and attention layers: direction, start, mask, heads, scale."""

from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["attention", "recurrent"]


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
        return proven(e, "direction", "JAX reads the sequence backwards.", "Set reverse=False.")
    if same(run(x, start), e.got):
        return proven(e, "state", "JAX starts from a state of ones, torch from zeros.", "Start from zeros.")
    if time == 1 and same(run(x.swapaxes(0, 1)).swapaxes(0, 1), e.got):
        return proven(e, "time-axis", "JAX runs along the batch axis.", "Set time_major as the data is.")
    return []


def attention(e: Evidence) -> list[Cause]:
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
        return proven(e, "bias-missing", "JAX leaves the bias of the output projection out.", "Set use_bias=True.")
    for label, mask in masks.items():
        if same(attend(heads, usual, mask), e.got):
            return proven(e, "mask", f"JAX attends with {label}, torch does not.", "Give both the same mask: True"
                           " keeps in flax, drops in nn.MultiheadAttention.")  # fmt: skip
        for scale, words in (
            (1.0, "unscaled"),
            (width**-0.5, "scaled by the whole width"),
            (1 / (width // heads), "by 1/d"),
        ):
            if same(attend(heads, scale, mask), e.got):
                return proven(e, "attention-scale", f"JAX's scores are {words}.", "Divide by sqrt(head width).")
        if same(attend(heads, usual, mask, -2), e.got):
            return proven(e, "softmax-axis", "JAX's softmax runs over the queries.", "Take it over the keys, axis -1.")
        for h in (h for h in range(1, width + 1) if width % h == 0 and h != heads):
            if same(attend(h, (width // h) ** -0.5, mask), e.got):
                return proven(e, "heads", f"JAX has {h} heads, torch {heads}.", f"Set num_heads={heads}.")
    return []

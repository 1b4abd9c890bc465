"""The models of the zoo in plain torch: the loss of one example, of the same tree of parameters in Flax's layouts."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

__all__ = ["LOSSES"]

EPS = 1e-6
"""What Flax's norms add to the variance; torch's own default is 1e-5."""


def wave(out: Any) -> Any:
    return out.sin().sum()


def affine(p: Any, x: Any) -> Any:
    """A dense layer; a kernel has the shape ``(inputs, outputs)``, and some have no bias."""
    return x @ p["kernel"] + p.get("bias", 0.0)


def layer_norm(p: Any, x: Any) -> Any:
    return functional.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], EPS)


def convolve(p: Any, x: Any, **options: Any) -> Any:
    """A convolution of channels-first images with Flax's kernel, which has its channels last."""
    return functional.conv2d(x, p["kernel"].permute(3, 2, 0, 1), p["bias"], **options)


def convolve_transposed(p: Any, x: Any) -> Any:
    """Stride two to twice the size: Flax does not flip the kernel, and pads two before and one behind."""
    kernel = p["kernel"].permute(2, 3, 0, 1).flip(2, 3)
    return functional.conv_transpose2d(x, kernel, p["bias"], stride=2)[..., :-1, :-1]


def cnn(p: Any, x: Any) -> Any:
    p = p["params"]
    x = convolve(p["Conv_0"], x.permute(2, 0, 1)[None], stride=2, padding=1)
    # without an axis for the batch, Flax's GroupNorm takes the first one, which is the height
    rows = x[0].permute(1, 0, 2)
    rows = functional.group_norm(rows, 2, p["GroupNorm_0"]["scale"], p["GroupNorm_0"]["bias"], EPS).relu()
    x = convolve(p["Conv_1"], rows.permute(1, 0, 2)[None], padding=(2, 1), dilation=2, groups=2).tanh()
    x = convolve(p["Conv_2"], x, groups=4).tanh()
    x = convolve_transposed(p["ConvTranspose_0"], x).tanh()
    return wave(affine(p["Dense_0"], x[0].permute(1, 2, 0).reshape(-1)))


def attention(p: Any, x: Any) -> Any:
    """Causal self-attention; queries, keys and values have the shape ``(heads, positions, width)``."""
    split = {
        k: torch.einsum("td,dhe->hte", x, p[k]["kernel"]) + p[k]["bias"][:, None] for k in ("query", "key", "value")
    }
    seen = torch.ones(len(x), len(x), dtype=torch.bool).tril()
    scores = split["query"] @ split["key"].mT / split["key"].shape[-1] ** 0.5
    out = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ split["value"]
    return torch.einsum("hte,hed->td", out, p["out"]["kernel"]) + p["out"]["bias"]


def block(p: Any, x: Any) -> Any:
    x = x + attention(p["MultiHeadDotProductAttention_0"], layer_norm(p["LayerNorm_0"], x))
    y = functional.rms_norm(x, x.shape[-1:], p["RMSNorm_0"]["scale"], EPS)
    # Flax numbers the outer layer first
    return x + affine(p["Dense_0"], functional.gelu(affine(p["Dense_1"], y), approximate="tanh"))


def language_model(p: Any, tokens: Any) -> Any:
    p = p["params"]
    table = p["Embed_0"]["embedding"]
    x = table[tokens] + p["table"][: len(tokens)]
    return wave(block(p["Block_0"], block(p["Block_0"], x)) @ table.T)


def stack(p: Any, x: Any) -> Any:
    (layers,) = p["params"].values()
    for kernel, bias in zip(layers["Dense_0"]["kernel"], layers["Dense_0"]["bias"], strict=True):
        x = x + (x @ kernel + bias).tanh()
    return wave(x)


def readout(p: Any, states: list[Any]) -> Any:
    return wave(affine(p["params"]["Dense_0"], torch.stack(states)))


def lstm(name: str) -> Callable[..., Any]:
    """An LSTM; both of Flax's cells name the gates input, forget, cell and output alike."""

    def loss(p: Any, x: Any) -> Any:
        cell = p["params"][name]
        h = c = x.new_zeros(3)
        states = []
        for xt in x:
            i, f, g, o = (affine(cell["i" + gate], xt) + affine(cell["h" + gate], h) for gate in "ifgo")
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return readout(p, states)

    return loss


def gru(p: Any, x: Any) -> Any:
    cell, h, states = p["params"]["GRUCell_0"], x.new_zeros(3), []
    for xt in x:
        r, z = (torch.sigmoid(affine(cell["i" + gate], xt) + affine(cell["h" + gate], h)) for gate in "rz")
        n = torch.tanh(affine(cell["in"], xt) + r * affine(cell["hn"], h))
        h = (1 - z) * n + z * h
        states.append(h)
    return readout(p, states)


def nnx_model(p: Any, x: Any) -> Any:
    return wave(affine(p["last"], layer_norm(p["norm"], affine(p["first"], x)).tanh()))


def dense(p: Any, x: Any) -> Any:
    return wave((x @ p["a"] + p["c"]).tanh() @ p["b"].T)


def heads(p: Any, x: Any) -> Any:
    return wave(torch.einsum("hte,ehf->tf", torch.einsum("td,hde->hte", x, p["a"]).tanh(), p["b"]))


def experts(p: Any, x: Any) -> Any:
    gates = (x @ p["gate"]).softmax(-1)
    return wave(sum(gates[:, e : e + 1] * (x @ w) for e, w in enumerate(p["experts"])))


def lora(p: Any, x: Any) -> Any:
    return wave(x @ p["w"] + x @ p["a"] @ p["b"]) + wave(x @ (p["w"] + p["a"] @ p["b"]))


def weight_normalised(p: Any, x: Any) -> Any:
    return wave(x @ (p["g"] * p["v"] / p["v"].norm(dim=0)))


def nested_scan(p: Any, x: Any) -> Any:
    for w in p["w"]:
        states = [x.new_zeros(3)]
        for xt in x:
            states.append(torch.tanh(xt @ w + states[-1] @ p["u"]))
        x = torch.stack(states[1:])
    return wave(x)


def lookups(p: Any, tokens: Any) -> Any:
    """Rows beyond the table are its last in the first sum, and zeros in the second."""
    table = p["table"]
    columns = torch.stack([table[0], torch.zeros_like(table[0]), table[0]])
    return wave(1.5 * table[tokens.clamp(max=6)]) + wave(columns @ p["w"]) + wave(table[tokens[0] % 3])


class Clipped(torch.autograd.Function):
    """A clip whose derivative is two."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * g


def tapped(p: Any, x: Any) -> Any:
    w = (2 * p["a"] if x[0] > 0 else p["a"]) + p["b"].T
    return wave(x @ w.cumsum(0)) + wave(Clipped.apply(p["c"]) * x[:2])


LOSSES: dict[str, Callable[..., Any]] = {
    "dense on vectors": dense,
    "dense on four axes": lambda p, x: wave(affine(p["params"], x)),
    "convolutions": cnn,
    "language model": language_model,
    "stack": stack,
    "stack over positions": stack,
    "recomputed stack": stack,
    "lstm": lstm("LSTMCell_0"),
    "lstm, joined weights": lstm("OptimizedLSTMCell_0"),
    "gru": gru,
    "nnx": nnx_model,
    "heads": heads,
    "experts": experts,
    "lora": lora,
    "weight normalised": weight_normalised,
    "scan in scan": nested_scan,
    "lookups": lookups,
    "without a rule": tapped,
}

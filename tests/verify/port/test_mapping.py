"""Every kind of layer is found without a rule: the outputs agree, and each weight has one place."""

from types import FunctionType

import flax.linen as fnn
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from jaxgrad.models._facts import JaxFacts, TorchFacts
from jaxgrad.models._search import correspond
from jaxgrad.verify import pair
from tests.turns import one_in


class Wrapped(nn.Module):
    """A torch layer of which only the first output counts."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class Attention(nn.Module):
    """Attention with projections of its own names, packed or apart, on torch's function."""

    def __init__(self, packed):
        super().__init__()
        if packed:
            self.c_attn = nn.Linear(8, 24)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))
        self.out_proj, self.packed = nn.Linear(8, 8), packed

    def forward(self, x):
        parts = self.c_attn(x).chunk(3, -1) if self.packed else (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (p.reshape(*p.shape[:2], 2, 4).swapaxes(1, 2) for p in parts)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.swapaxes(1, 2).reshape(x.shape))


class Transposed(fnn.Module):
    """Flax's transposed convolution with torch's window."""

    transpose_kernel: bool

    @fnn.compact
    def __call__(self, x):
        return fnn.ConvTranspose(5, (3, 2), (2, 2), padding="VALID", transpose_kernel=self.transpose_kernel)(x)


class Packed(fnn.Module):
    """Attention that makes queries, keys and values by one layer."""

    features: int | tuple[int, ...]

    @fnn.compact
    def __call__(self, x):
        made = fnn.DenseGeneral(self.features, name="qkv")(x).reshape(*x.shape[:2], 3, 2, 4)
        mixed = fnn.dot_product_attention(*(made[:, :, i] for i in range(3)))
        return fnn.Dense(8, name="out")(mixed.reshape(x.shape))


IMAGE, SERIES = (2, 4, 5, 6), (3, 5, 8)
KINDS = {
    "grouped convolution": (nn.Conv2d(4, 6, 3, groups=2), fnn.Sequential([fnn.Conv(6, (3, 3), feature_group_count=2,
                            padding="VALID")]), IMAGE),
    "one axis": (nn.Sequential(nn.Conv1d(5, 7, 3)), fnn.Sequential([lambda x: x.swapaxes(1, 2), fnn.Conv(7, (3,),
                 padding="VALID"), lambda x: x.swapaxes(1, 2)]), SERIES),
    "transposed": (nn.ConvTranspose2d(4, 5, (3, 2), 2), Transposed(True), IMAGE),
    "transposed, run backwards": (nn.ConvTranspose2d(4, 5, (3, 2), 2), Transposed(False), IMAGE),
    "batch norm": (nn.BatchNorm2d(4), fnn.Sequential([fnn.BatchNorm(use_running_average=True)]), IMAGE),
    "group norm": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)), fnn.Sequential([fnn.Conv(4, (1, 1)),
                   fnn.GroupNorm(2, epsilon=1e-5)]), IMAGE),
    "lstm": (Wrapped(nn.LSTM(8, 3, batch_first=True)), fnn.RNN(fnn.LSTMCell(3)), SERIES),
    "lstm, gates together": (Wrapped(nn.LSTM(8, 3, batch_first=True)),
                             lambda: nnx.RNN(nnx.OptimizedLSTMCell(8, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0)), SERIES),
    "gru": (Wrapped(nn.GRU(8, 3, batch_first=True)), fnn.RNN(fnn.GRUCell(3)), SERIES),
    "attention, packed": (Attention(True), fnn.Sequential([fnn.MultiHeadDotProductAttention(2)]), SERIES),
    "attention, apart": (Attention(False), fnn.Sequential([fnn.MultiHeadDotProductAttention(2)]), SERIES),
    "attention, packed in JAX": (Attention(False), Packed(24), SERIES),
    "attention, packed by part and head": (Attention(False), Packed((3, 2, 4)), SERIES),
    "attention of NNX": (Attention(True), lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0)),
                         SERIES),
}  # fmt: skip


@pytest.mark.parametrize("kind", one_in(3, KINDS))
def test_kind_of_layer(kind):
    torch.manual_seed(0)
    theirs, ours, shape = KINDS[kind]
    # a module of NNX draws its numbers when it is made
    ours = ours() if isinstance(ours, FunctionType) else ours
    x = np.random.default_rng(0).normal(size=shape)
    bound = pair(torch=theirs.eval(), jax=ours, loss="mean_square", batch=x)
    assert not bound.mapping.unused
    assert not bound.mapping.unfilled
    report = bound.check(["value"], dtypes=("float64",))
    assert report.ok, report.table()
    tensors = {**bound.torch.params, **bound.torch.buffers}
    leaves = bound.mapping.fill(tensors, bound.jax_paths)
    back = bound.mapping.back(leaves, {n: tensors[n].shape for n in bound.torch.params})
    again = bound.mapping.fill({**tensors, **back}, list(leaves))
    for path, leaf in leaves.items():
        np.testing.assert_allclose(again[path], leaf, rtol=1e-12)


def test_layers_that_nobody_sees_run_are_counted_by_their_numbers():
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    shapes = dict(zip(names, ((12, 3), (12, 3), (12,), (12,)), strict=True))
    theirs = {f"layers.{i}.{name}": shape for i in range(12) for name, shape in shapes.items()}
    ours = {f"Cell_{i}/{s}{gate}/kernel": (3, 3) for i in sorted(range(12), key=str) for s in "ih" for gate in "ifgo"}
    ours |= {path.replace("kernel", "bias"): (3,) for path in ours if "/h" in path}
    found = correspond(TorchFacts(theirs, {f"layers.{i}": "LSTM" for i in range(12)}), JaxFacts(ours))
    assert not found.unused
    assert all(link.name.split(".")[1] == link.path.split("/")[0].removeprefix("Cell_") for link in found.links)


class Cell(nnx.Module):
    """A recurrent layer of NNX, whose reset gate scales a state without a bias."""

    def __init__(self):
        self.layer = nnx.RNN(nnx.GRUCell(8, 3, rngs=nnx.Rngs(0)))

    def __call__(self, x):
        return self.layer(x)


class Biased(fnn.Module):
    """A linear layer with a bias."""

    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(3, name="0")(x)


@pytest.mark.parametrize(
    ("theirs", "ours", "path", "names"),
    [
        (
            lambda: Wrapped(nn.GRU(8, 3, batch_first=True)),
            Cell,
            "layer",
            ("layer.bias_hh_l0", "layer/cell/dense_i/bias"),
        ),
        (lambda: nn.Sequential(nn.Linear(8, 3, bias=False)), Biased, "0", ("0/bias [3]",)),
    ],
)
def test_a_weight_without_a_counterpart_is_the_first_cause(theirs, ours, path, names):
    x = np.random.default_rng(0).normal(size=SERIES)
    bound = pair(torch=theirs().eval(), jax=ours(), loss="mean_square", batch=x)
    causes = bound.check(["value", "gradient"], dtypes=("float64",)).causes
    assert [(cause.id, cause.path) for cause in causes] == [("mapping", path)]
    assert all(name in causes[0].text for name in names)

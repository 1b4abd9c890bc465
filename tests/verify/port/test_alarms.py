"""A correct port is never called different, and what differs beside it is still found."""

import dataclasses
from types import FunctionType

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx, struct
from torch import nn

from jaxgrad.verify import pair
from jaxgrad.verify.port.frameworks import _outputs
from jaxgrad.verify.port.frameworks._comparisons import compares, without_ties
from jaxgrad.verify.port.frameworks._compile import quick
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.tracing import _first_divergence, _record_jax
from tests.turns import one_in

pytestmark = pytest.mark.either_lane

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
EXACT = ("float64",)


def check(what, **given):
    bound = pair(**{"loss": "mean_square", **given})
    return bound.check(what, dtypes=EXACT)


def rows_of(**given):
    bound = pair(**{"loss": "mean_square", **given})
    with precision():
        passes = _first_divergence.watch(bound)
        return _first_divergence.with_own(passes, _first_divergence.layers(passes))


class InPlace(nn.Module):
    """Changes its input, what a layer returns, and what a later line reads again."""

    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 6)
        self.c = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Linear(6, 3))

    def forward(self, x):
        x -= x.mean(-1, keepdim=True)
        h = self.a(x)
        y = self.b(self.act(h))
        y += h
        return self.c(y) + y[:, :3]


class Fresh(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        h = fnn.relu(fnn.Dense(6, name="a")(x - x.mean(-1, keepdims=True)))
        y = fnn.leaky_relu(fnn.Dense(6, name="b")(h) + h, 0.2)
        return fnn.Dense(3, name="c_1")(y) + y[:, :3]


def test_what_is_changed_in_place_keeps_its_gradient():
    report = check(
        ["gradient", "input_gradient", "activations", "activation_gradient"],
        torch=InPlace().eval(), jax=Fresh(), batch=(X,),
    )  # fmt: skip
    assert report.ok, report


@pytest.mark.parametrize(
    ("fun", "decides"),
    [
        (lambda x: x.max(1).sum(), True),
        (lambda x: jnp.where(x == x.max(1, keepdims=True), x, 0).sum(), True),
        (lambda x: jnp.maximum(x[0], x[1]).sum(), True),
        (lambda x: jax.nn.relu(x).sum(), False),
        (lambda x: (jax.nn.softmax(x) ** 2).sum(), False),
        (lambda x: jax.nn.gelu(x, approximate=False).sum(), False),
    ],
)
def test_programs_that_compare_their_own_numbers_are_found(fun, decides):
    assert compares(jax.make_jaxpr(jax.grad(fun))(X).jaxpr) == decides


TIES = np.array([[0.0, -0.0, 1.0, -2.0, np.nan, np.inf], [2.0, 0.0, 1.0, 3.0, 1.0, np.inf]])


@pytest.mark.parametrize(
    ("fun", "decides"),
    [
        (lambda x: jnp.maximum(x, 0).sum(), False),
        (lambda x: jnp.clip(jnp.sin(x), -0.5, 1.0).sum(), False),
        (lambda x: jnp.maximum(0.0, (x**2).mean() - x.mean() ** 2), False),
        (lambda x: jnp.minimum(jnp.arange(6.0)[None], x).sum(), False),
        (lambda x: jax.jit(lambda y: jnp.maximum(y, 1.0))(x).sum(), False),
        (lambda x: jnp.maximum(x[0], x[1]).sum(), True),
        (lambda x: x.max(1).sum(), True),
    ],
)
def test_a_tie_with_a_maximum_is_asked_otherwise_to_the_same_effect(fun, decides):
    program = jax.make_jaxpr(jax.grad(fun))(TIES)
    # jax 0.12 asks some of them so itself
    other = jax.make_jaxpr(without_ties(program))(TIES)
    assert compares(other.jaxpr) == decides
    for x in (TIES, np.nan_to_num(TIES), X):
        if x.shape == TIES.shape:
            np.testing.assert_array_equal(without_ties(program)(x)[0], jax.grad(fun)(x))


def test_the_gradient_of_a_maximum_over_an_affine_output_is_what_jax_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 20, 16)).astype(np.float32)
    scale, shift, mean = (rng.normal(size=(1, 1, 16)).astype(np.float32) for _ in range(3))
    slope = jax.grad(lambda x: (((x - mean) * scale + shift).max(1) ** 2).sum())
    np.testing.assert_array_equal(quick(slope)(x), jax.jit(slope)(x))


class Masked(nn.Module):
    def __init__(self, unread=True):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)))
        self.register_buffer("position_ids", torch.arange(4), persistent=False)
        self.register_buffer("gain", torch.ones(6))
        self.table = nn.Parameter(torch.ones(6), requires_grad=False)
        self.spare = nn.Parameter(torch.zeros(6, 2)) if unread else None
        self.shift = None if unread else nn.Parameter(torch.full((6,), 0.3))

    def forward(self, x):
        out = self.mask @ self.fc(x) * self.gain * self.table
        return out if self.shift is None else out + self.shift


class JaxMasked(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        self.param("unused", fnn.initializers.zeros, (5,))
        return jnp.tril(jnp.ones((4, 4))) @ fnn.Dense(6, name="fc")(x)


def test_constants_and_what_no_loss_depends_on_are_no_weights():
    bound = pair(torch=Masked().eval(), jax=JaxMasked(), loss="mean_square", batch=(X,))
    assert set(bound.mapping.constants) == {"mask", "position_ids", "gain", "table", "spare", "unused"}
    audit = bound.audit()
    assert audit.ok, audit
    assert "no weights" in str(audit)
    assert bound.check(["value", "gradient"], dtypes=EXACT).ok


def test_a_weight_without_a_counterpart_is_still_told():
    report = check(["value"], torch=Masked(unread=False).eval(), jax=JaxMasked(), batch=(X,))
    assert {r.name: r.verdict for r in report.results} == {"value": "differ", "mapping": "differ"}
    assert "shift" in next(r.reason for r in report.results if r.name == "mapping")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))

    def forward(self, x):
        return x + self.net(x)


class JaxResidual(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return x + fnn.Dense(6)(fnn.relu(fnn.Dense(8)(x)))


class WithResidual(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(2)(JaxResidual()(x))


def test_a_residual_around_a_sequential_is_paired_with_the_whole():
    net = nn.Sequential(Residual(), nn.Linear(6, 2)).eval()
    report = check(["value", "activations"], torch=net, jax=WithResidual(), batch=(X,))
    assert report.ok, report
    assert ("0", "JaxResidual_0") in {(row.torch, row.jax) for row in report.layers}


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    aux: torch.Tensor
    label: torch.Tensor
    phase: torch.Tensor


@struct.dataclass
class JaxOutput:
    phase: jax.Array
    label: jax.Array
    aux: jax.Array
    logits: jax.Array


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return Output(a, b, a.argmax(-1), torch.fft.fft(b))


class JaxHeads(fnn.Module):
    make: type = JaxOutput
    sign: float = 1.0
    conjugate: bool = False

    @fnn.compact
    def __call__(self, x):
        a, b = fnn.Dense(3, name="a")(x), fnn.Dense(3, name="b")(x)
        phase = jnp.fft.fft(b)
        phase = jnp.conj(phase) if self.conjugate else phase
        return self.make(phase=phase, label=(self.sign * a).argmax(-1), aux=b, logits=a)


def logits(output):
    return output["logits"] if isinstance(output, dict) else output.logits


def check_heads(what, port):
    losses = lambda o: logits(o).pow(2).mean(), lambda o: (logits(o) ** 2).mean()
    return check(what, torch=Heads().eval(), jax=port, batch=(X,), loss=losses)


def test_outputs_with_names_are_compared_by_name():
    for make in (JaxOutput, dict):
        report = check_heads(["value", "ggn", "activations"], JaxHeads(make))
        assert report.ok, report
        names = {leaf.torch for leaf in report.results[0].leaves}
        assert names == {"loss", "output.logits", "output.aux", "output.label", "output.phase"}


@pytest.mark.parametrize(("planted", "leaf"), [({"sign": -1.0}, "output.label"), ({"conjugate": True}, "output.phase")])
def test_wrong_integers_and_complex_numbers_are_told(planted, leaf):
    report = check_heads(["value"], JaxHeads(**planted))
    assert report.differs
    assert [x.torch for x in report.results[0].leaves if x.error > 1e-9] == [leaf]


def test_outputs_of_every_form():
    a, b = np.zeros(2), np.ones(3, int)
    assert list(_outputs.named((a, None, {"b": [b, 1.0]}))) == ["output[0]", "output[2].b[0]", "output[2].b[1]"]
    assert list(_outputs.named([a])) == ["output"]
    assert _outputs.main({"zeta": b, "beta": a, "alpha": b}) is a
    assert _outputs.main({"aux": a, "logits": 2 * a, "b": a}) is not a
    assert list(_outputs.renamed({"output[0]": a, "output[1]": b}, {"output.x": a})) == ["output.x", "output[1]"]
    assert list(_outputs.renamed({"output.x": a, "output.z": b}, {"output.x": a, "output.y": b})) == [
        "output.x",
        "output.z",
    ]
    made = _outputs.exchange(Output(a, b, a, b), lambda leaf: leaf + 1)
    assert isinstance(made, Output)
    assert made.logits[0] == 1
    assert a[0] == 0


class Flattened(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(5, name="fc")(fnn.Conv(4, (3, 3), padding=1, name="conv")(x).reshape(len(x), -1))


@pytest.mark.parametrize(("order", "right"), [((2, 3, 1, 0), True), ((3, 2, 1, 0), False)])
def test_weights_of_the_ports_own_are_all_compared_by_value(order, right):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(100, 5)).eval()
    w = {name: p.detach().numpy() for name, p in net.named_parameters()}
    params = {
        "conv": {"kernel": w["0.weight"].transpose(order), "bias": w["0.bias"]},
        "fc": {"kernel": w["2.weight"].reshape(5, 4, 5, 5).transpose(2, 3, 1, 0).reshape(-1, 5), "bias": w["2.bias"]},
    }
    bound = pair(torch=net, jax=(Flattened(), {"params": params}), loss="mean_square", batch=(IMAGE,), weights="own")
    audit = bound.audit()
    assert audit.ok == right, audit
    assert [e["jax"] for e in audit.entries if e["proof"].startswith("wrong")] == ([] if right else ["conv/kernel"])
    if right:
        assert bound.check(["value", "gradient"], dtypes=EXACT).ok


class Embedded(nnx.Module):
    def __init__(self, rngs):
        self.e, self.l = nnx.Embed(9, 6, rngs=rngs), nnx.Linear(6, 9, rngs=rngs)

    def __call__(self, t):
        return self.l(self.e(t))


class Convolved(fnn.Module):
    options: dict

    @fnn.compact
    def __call__(self, x):
        if self.options.get("by_hand"):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
            return fnn.Conv(4, (3, 3), padding="VALID")(x)
        return fnn.Conv(4, **self.options)(x)


class PadsItself(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(nn.functional.pad(x, [1, 1, 1, 1]), self.weight, self.bias, self.stride)


VOLUME, SIGNAL = np.ones((2, 3, 4, 5, 4), np.float32) * IMAGE[0, 0, 0, 0], IMAGE[:, :, 0]
TOKENS = np.array([[1, 2, 3], [4, 5, 8]])
THREE, TWO, ONE = ({"kernel_size": (3,) * n} for n in (3, 2, 1))
FORMS = {
    "an embedding of NNX": (
        lambda: nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9)),
        lambda: Embedded(nnx.Rngs(0)),
        TOKENS,
    ),
    "one number for three axes": (lambda: nn.Conv3d(3, 4, 3, padding=1), Convolved({**THREE, "padding": 1}), VOLUME),
    "a border by hand": (
        lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        Convolved({"by_hand": True}),
        IMAGE,
    ),
    "a layer that pads itself": (
        lambda: PadsItself(3, 4, 3, 2),
        Convolved({**TWO, "strides": 2, "padding": ((1, 1), (1, 1))}),
        IMAGE,
    ),
    "a signal": (
        lambda: nn.Conv1d(3, 4, 3, 2, 1),
        Convolved({**ONE, "strides": (2,), "kernel_dilation": (1,), "padding": ((1, 1),)}),
        SIGNAL,
    ),
}


@pytest.mark.parametrize("name", one_in(2, FORMS))
def test_settings_in_another_form_are_no_difference(name):
    make, port, x = FORMS[name]
    # a module of NNX draws its numbers when it is made
    port = port() if isinstance(port, FunctionType) else port
    bound = pair(torch=nn.Sequential(make()).eval(), jax=port, loss="mean_square", batch=(x,))
    audit = bound.audit()
    assert audit.ok, audit
    assert bound.check(["value"], dtypes=EXACT).ok


def test_a_stride_that_differs_is_told():
    port = Convolved({"kernel_size": (3, 3), "strides": 1, "padding": 1})
    audit = pair(
        torch=nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)).eval(), jax=port, loss="mean_square", batch=(IMAGE,)
    ).audit()
    assert [s.name for s in audit.settings if not s.harmless] == ["stride"]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.fc = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x, pad):
        h = self.attn(x, x, x, key_padding_mask=pad, need_weights=False)[0]
        return self.fc((h * ~pad[..., None]).sum(1))


class JaxAttention(fnn.Module):
    read: bool = False

    @fnn.compact
    def __call__(self, x, pad):
        h = fnn.MultiHeadDotProductAttention(2, name="attn")(x, mask=fnn.make_attention_mask(~pad, ~pad))
        return fnn.Dense(3, name="fc")((h * (1 if self.read else ~pad[..., None])).sum(1))


@pytest.mark.parametrize("read", [False, True])
def test_what_padded_queries_return_counts_where_it_is_read(read):
    pad = np.zeros((2, 5), bool)
    pad[1, 3:] = True
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
    report = check(
        ["value", "activations"],
        torch=Attention().eval(),
        jax=JaxAttention(read),
        batch=(x, pad),
        loss=(lambda o: o.pow(2).mean(), lambda o: (o**2).mean()),
    )
    assert report.ok != read, report


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.time, self.rnn, self.fc = nn.Linear(4, 6), nn.GRUCell(6, 6), nn.Linear(6, 3)

    def forward(self, t):
        h = self.time(t[:, None] * torch.arange(1.0, 5, dtype=self.fc.weight.dtype))
        return self.fc(self.rnn(torch.tanh(h), torch.zeros_like(h) + 0.1))


class JaxCell(fnn.Module):
    @fnn.compact
    def __call__(self, t):
        h = fnn.Dense(6, name="time")(t[:, None] * jnp.arange(1.0, 5))
        return fnn.Dense(3, name="fc")(fnn.GRUCell(6, name="rnn")(jnp.full(h.shape, 0.1), fnn.tanh(h))[0])


def test_layers_fed_from_integers_and_cells_have_no_error_of_their_own():
    rows = rows_of(torch=Cell().eval(), jax=JaxCell(), batch=(np.array([1, 5, 9]),))
    assert {row.torch for row in rows} == {"", "time", "rnn", "fc"}
    own = ("own_forward", "own_input", "own_backward", "own_behind", "own_weights")
    assert max(getattr(row, name) for row in rows for name in own) < 1e-10


class Last(fnn.Module):
    epsilon: float

    @fnn.compact
    def __call__(self, x):
        return fnn.LayerNorm(epsilon=self.epsilon, name="0")(x)


@pytest.mark.parametrize(("epsilon", "runs"), [(1e-5, 0), (1e-3, 1)])
def test_the_layers_own_errors_take_a_program_only_where_something_differs(monkeypatch, epsilon, runs):
    forced, force = [], _record_jax.force
    monkeypatch.setattr(_record_jax, "force", lambda *args: forced.append(args) or force(*args))
    bound = {"torch": nn.Sequential(nn.LayerNorm(6)).eval(), "jax": Last(epsilon), "batch": (X,)}
    report = check(["activations"], **bound)
    assert len(forced) == runs, report
    assert report.ok == (not runs)
    row = next(row for row in report.layers if row.torch == "0")
    assert row.own_forward == row.forward
    assert (row.forward > 1e-6) == bool(runs)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Embedding(9, 6)
        self.encoder, self.decoder = (nn.ModuleDict({"embed": self.shared, "fc": nn.Linear(6, 6)}) for _ in "12")
        self.head = nn.Linear(6, 9, bias=False)
        self.head.weight = self.shared.weight

    def forward(self, s, t):
        h = torch.tanh(self.encoder["fc"](self.encoder["embed"](s))).mean(1, keepdim=True)
        return self.head(torch.tanh(self.decoder["fc"](self.decoder["embed"](t) + h)))


class JaxShared(fnn.Module):
    def setup(self):
        self.shared, self.encoder_fc, self.decoder_fc = fnn.Embed(9, 6), fnn.Dense(6), fnn.Dense(6)

    def __call__(self, s, t):
        h = fnn.tanh(self.encoder_fc(self.shared(s))).mean(1, keepdims=True)
        return self.shared.attend(fnn.tanh(self.decoder_fc(self.shared(t) + h)))


def test_a_module_under_several_names_takes_the_weights_of_every_call():
    report = check(
        ["gradient", "hvp"],
        torch=Shared().eval(),
        jax=JaxShared(),
        batch=(TOKENS, TOKENS, TOKENS),
        loss="cross_entropy",
    )
    assert report.ok, report


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop = nn.Linear(6, 3), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.fc(x))


class JaxDropping(fnn.Module):
    rate: float

    @fnn.compact
    def __call__(self, x):
        return fnn.Dropout(self.rate, deterministic=True)(fnn.Dense(3, name="fc")(x))


@pytest.mark.parametrize(("rate", "wrong"), [(0.1, []), (0.9, ["dropout rate"])])
def test_dropout_rates_are_audited(rate, wrong):
    audit = pair(torch=Dropping().eval(), jax=JaxDropping(rate), loss="mean_square", batch=(X,)).audit()
    assert [s.name for s in audit.settings if not s.harmless] == wrong

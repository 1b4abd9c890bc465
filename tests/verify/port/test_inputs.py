"""Batches and models as people have them: they are compared, or refused in one sentence that says what to write."""

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

from jaxgrad.verify import pair
from jaxgrad.verify.port import _check
from jaxgrad.verify.port.diagnosis import _diagnose
from jaxgrad.verify.port.frameworks._parts import Parts, parts_of
from jaxgrad.verify.port.frameworks._torch_module import unwrapped

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
EDGES = np.array([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x, *, mask=None, scale=1.0):
        return self.fc(x if mask is None else x * mask) * scale


class Port(fnn.Module):
    @fnn.compact
    def __call__(self, x, *, mask=None, scale=1.0):
        return fnn.Dense(3, name="fc")(x if mask is None else x * mask) * scale


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.sent = nn.Linear(6, 3), nn.Linear(6, 3, bias=False)

    def forward(self, x, edges, scale):
        found = torch.zeros(len(x), 3, dtype=x.dtype).index_add(0, edges[1], self.sent(x)[edges[0]])
        return self.own(x) + scale * found


class JaxGraph(fnn.Module):
    @fnn.compact
    def __call__(self, x, edges, scale):
        sent = fnn.Dense(3, use_bias=False, name="sent")(x)
        return fnn.Dense(3, name="own")(x) + scale * jnp.zeros((len(x), 3), x.dtype).at[edges[1]].add(sent[edges[0]])


def weighted(library):
    return lambda o, y, w: (((o - y) ** 2).mean(-1) * w).mean()


HALF, OPTIONS = jnp.asarray(X, jnp.bfloat16), {"mask": (X > 0).astype(np.float32), "scale": 0.5}
ACCEPTED = {
    "names": {"batch": {"labels": Y, "x": X, "mask": X > 0}},
    "options": {"batch": (X, Y), "torch_kwargs": OPTIONS, "jax_kwargs": OPTIONS},
    "several targets": {"batch": (X, Y, np.arange(4.0)), "loss": (weighted("torch"), weighted("jax"))},
    "bfloat16": {"batch": (HALF, torch.from_numpy(Y).bfloat16().requires_grad_())},
    "edges and a scalar": {"batch": (X, EDGES, np.float32(0.5), Y), "torch": Graph, "jax": JaxGraph()},
    "ignored labels": {"batch": (X, np.array([0, -100, 2, 1])), "loss": "cross_entropy"},
    "DataParallel": {"batch": (X, Y), "torch": lambda: nn.DataParallel(Net())},
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_batches_and_models_as_people_have_them(name):
    given = {"torch": Net, "jax": Port(), "loss": "mse", **ACCEPTED[name]}
    bound = pair(**{**given, "torch": given["torch"]().eval()})
    assert bound.audit().ok
    report = bound.check(["value", "gradient"], dtypes=("float64",))
    assert report.ok, report


class Nothing(fnn.Module):
    def __call__(self, x):
        return jnp.tanh(x)


def test_models_without_parameters_are_compared():
    bound = pair(torch=nn.Tanh().eval(), jax=Nothing(), loss="mean_square", batch=(X,))
    report = bound.check("all", dtypes=("float64",))
    assert report.ok, report
    assert {r.name for r in report.results if "no parameters" in r.reason} >= {"hvp", "meta", "step"}


def test_wrappers_that_only_change_how_a_model_runs_are_taken_off():
    net = Net()
    wrapped = nn.DataParallel(net)
    compiled = nn.Module()
    compiled._orig_mod = wrapped
    assert unwrapped(compiled) is net


def scripted():
    with pytest.warns(DeprecationWarning, match="script"):
        return torch.jit.script(nn.Sequential(nn.Linear(6, 3)))


class NoGradient(Net):
    @torch.inference_mode()
    def forward(self, x):
        return self.fc(x)


class Complex(Net):
    def __init__(self):
        super().__init__()
        self.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (NoGradient, "inference_mode"),
        (Complex, r"complex parameters \(phase\).*two parameters"),
        (scripted, "scripted or traced.*give the nn.Module"),
    ],
)
def test_models_that_cannot_be_compared_are_refused_in_a_sentence(net, words):
    with pytest.raises(ValueError, match=words) as caught:
        pair(torch=net().eval(), jax=Port(), loss="mse", batch=(X, Y))
    assert len(str(caught.value).splitlines()) == 1


def test_a_batch_is_taken_apart_by_what_the_loss_takes():
    def of_output(output):
        return output

    def of_two(output, target, weight, reduction="mean"):
        return output, target, weight, reduction

    assert parts_of((1, 2), (of_output,)) == ((1, 2), Parts(0))
    assert Parts(2).split((1, 2, 3)) == ((1,), (2, 3))
    assert parts_of((1, 2, 3), (of_two, nn.MSELoss())) == ((1, 2, 3), Parts(2))
    assert parts_of({"y": 1, "x": 2}, (nn.functional.mse_loss,)) == ((2, 1), Parts(1, ("x",)))
    assert parts_of({"a": 1, "b": 2}, (nn.functional.mse_loss,)) == ((1, 2), Parts(1, ("a",)))


class Twice(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return 2 * fnn.Dense(3, name="fc")(x)


def fails(*_):
    message = "made for something else"
    raise IndexError(message)


def test_a_search_for_causes_that_fails_is_told_and_the_rest_stands(monkeypatch):
    bound = pair(torch=Net().eval(), jax=Twice(), loss="mse", batch=(X, Y))
    monkeypatch.setattr(_diagnose, "in_layer", fails)
    monkeypatch.setattr(_diagnose, "between", fails)
    report = bound.check(["value"], dtypes=("float64",))
    assert report.differs
    assert report.first_divergence is not None
    assert "IndexError: made for something else" in report.explain()


def test_an_optimizer_without_a_step_is_told():
    bound = pair(torch=Net().eval(), jax=Port(), loss="mse", batch=(X, Y),
                 optimizer=(lambda p: torch.optim.SGD(p, 0.1), optax.sgd(0.1)))  # fmt: skip
    assert _check.NO_STEP in str(bound.check(["value"], dtypes=("float64",)))
    assert _check.NO_STEP not in str(bound.check(["step"], dtypes=("float64",)))


class ChannelNorm(nn.Module):
    """A layer norm over the channels of an image, whose name is that of torch's own."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        out = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        return self.weight[:, None, None] * out + self.bias[:, None, None]


ChannelNorm.__name__ = "LayerNorm"


class WholeImage(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return fnn.LayerNorm(1e-6, reduction_axes=(1, 2, 3), feature_axes=-1)(fnn.Conv(8, (3, 3), padding=1)(x))


def test_a_layer_of_a_known_name_that_computes_something_else_raises_nothing():
    image = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), ChannelNorm()).eval()
    bound = pair(torch=net, jax=WholeImage(), loss="mean_square", batch=(image,))
    report = bound.check(["value"], dtypes=("float64",))
    assert report.differs
    assert report.first_divergence.path == "1"
    assert "failed" not in report.explain()


class Island(Net):
    def forward(self, x):
        return self.fc(x) @ torch.eye(3)


class OnlyFloat32(Net):
    def forward(self, x):
        if x.dtype != torch.float32:
            message = "a kernel of its own takes float32 only"
            raise RuntimeError(message)
        return self.fc(x)


class Unproven(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(3, name="fc")(x)


def test_a_model_that_makes_its_tables_in_float32_runs_in_float64():
    bound = pair(torch=Island().eval(), jax=Unproven(), loss="mse", batch=(X, Y))
    assert bound.audit().ok
    assert bound.check(["value"], dtypes=("float64",)).ok


def test_a_model_that_fails_in_float64_is_told_and_audited_all_the_same():
    bound = pair(torch=OnlyFloat32().eval(), jax=Unproven(), loss="mse", batch=(X, Y))
    assert bound.audit().ok
    report = bound.check(["value"], dtypes=("float64",))
    assert [r.verdict for r in report.results] == ["failed"]
    assert "torch fails in float64: RuntimeError" in report.results[0].reason

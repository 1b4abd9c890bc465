"""A matched pair agrees; a planted difference is found, placed and named; both sides stay as they were."""

import json
import xml.etree.ElementTree as ET

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch import nn

from jaxgrad.verify import assert_equivalent, pair
from tests.turns import one_in
from tests.verify.mutations.catalogue import catalogue
from tests.verify.mutations.planting import batch_of, matched, planted
from tests.verify.mutations.score import score

PLANTED = (
    "mlp: gelu tanh",
    "mlp: layer norm epsilon 1e-06",
    "mlp: square kernel transposed in code",
    "loss: half",
    "kink: relu as a maximum",
    "clip: epsilon of the norm",
)


@pytest.fixture(scope="module")
def agreeing():
    bound = matched("mlp")
    before = {n: p.detach().clone() for n, p in bound.torch.module.named_parameters()}
    report = bound.check("all")
    assert all(torch.equal(p, before[n]) for n, p in bound.torch.module.named_parameters())
    assert not bound.torch.module.training
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in bound.torch.module.modules())
    return report


def test_a_matched_pair_agrees_in_every_quantity(agreeing):
    assert agreeing.ok, agreeing.table()
    assert agreeing.first_divergence is None
    assert agreeing.causes == []
    assert len(agreeing.results) == 16
    assert max(r.error for r in agreeing.results) < 1e-11
    assert max(r.noise or 0.0 for r in agreeing.results) < 10


def test_reports_are_valid_in_every_form(agreeing):
    plain = json.loads(agreeing.to_json())
    assert plain["ok"] is True
    assert {r["name"] for r in plain["results"]} >= {"value", "hvp", "meta_second_order", "steps:3"}
    suite = ET.fromstring(agreeing.to_junit())
    assert suite.get("failures") == "0"
    assert "<script" in agreeing.to_html()
    assert "http://" not in agreeing.to_html().replace("http://www.w3.org", "")


@pytest.mark.parametrize("name", one_in(2, PLANTED))
def test_planted_difference_is_found_placed_and_named(name):
    row = score(next(m for m in catalogue() if m.name == name))
    assert row["detected"], row
    assert row["placed"], row
    assert row["named"], row


def test_divergence_prints_as_its_path_and_says_which_pass():
    report = planted("mlp", {"act": fnn.gelu})().check(["value"], dtypes=("float64",))
    assert str(report.first_divergence) == "act"
    assert report.first_divergence.path == "act"
    assert report.first_divergence.stage == "forward"
    assert "gelu (tanh)" in report.explain()
    own = {row.torch: max(row.own_forward, row.own_input) for row in report.layers}
    inherited = {row.torch: row.forward for row in report.layers}
    # the layers behind the culprit inherit its error and have none of their own
    assert inherited["fc2"] > 1e-6
    assert own["fc2"] < 1e-14


def test_assertion_reads_like_torch_testing():
    torch.manual_seed(0)
    from tests.verify.mutations import models_jax, models_torch

    given = {"torch": models_torch.Mlp().eval(), "loss": "mse", "batch": batch_of("mlp")}
    assert assert_equivalent(jax=models_jax.Mlp(None), what=["value"], **given).ok
    with pytest.raises(AssertionError) as caught:
        assert_equivalent(
            jax=models_jax.Mlp({"act": fnn.gelu}), what=["value", "gradient"], check={"dtypes": ("float64",)}, **given
        )
    text = str(caught.value)
    for part in ("The models are not equivalent!", "Mismatched elements: ", "Greatest absolute difference: ",
                 "at index (", "The failure occurred for item 'fc1.weight' (torch) <-> 'fc1/kernel' (JAX)",
                 "First divergence (forward): act", "Proven cause: act: JAX applies gelu (tanh)"):  # fmt: skip
        assert part in text, text


class TorchTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.second(torch.tanh(self.first(self.norm(x))))


class NnxTower(nnx.Module):
    def __init__(self, rngs, epsilon=1e-5):
        self.second = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=epsilon, rngs=rngs)
        self.first = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(self.norm(x))))


def test_nnx_is_watched_without_an_edit():
    rng = np.random.default_rng(0)
    module = NnxTower(nnx.Rngs(0), epsilon=1e-6)
    kept = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(module)))
    bound = pair(
        torch=TorchTower().eval(), jax=module, loss="mse", batch=(rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))
    )
    report = bound.check(["value"], dtypes=("float64",))
    assert report.first_divergence.path == "norm"
    assert report.causes[0].id == "epsilon"
    assert type(module) is NnxTower
    jax.tree.map(np.testing.assert_array_equal, kept, nnx.to_pure_dict(nnx.state(module)))


def test_a_plain_function_is_compared_as_a_whole():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    module = nn.Linear(4, 2).eval()
    params = {"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)}

    def right(p, x):
        return x @ p["kernel"] + p["bias"]

    def wrong(p, x):
        return x @ p["kernel"] + 2 * p["bias"]

    batch = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    assert pair(torch=module, jax=(right, params), loss="mse", batch=batch).check(["value", "gradient", "hvp"]).ok
    report = pair(torch=module, jax=(wrong, params), loss="mse", batch=batch).check(["value", "gradient"])
    assert not report.ok
    assert report.first_divergence.stage == "forward"


@jax.custom_vjp
def _cube(x):
    return x**3


_cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))


def test_second_derivatives_of_a_custom_backward_rule():
    class Cubes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x) ** 3

    rng = np.random.default_rng(0)
    port = fnn.Sequential([fnn.Dense(3), _cube])
    bound = pair(torch=Cubes().eval(), jax=port, loss="mse", batch=(rng.normal(size=(5, 4)), rng.normal(size=(5, 3))))
    report = bound.check(["hvp", "ggn", "nth", "meta", "meta_second_order"])
    assert report.ok, report.table()


class TorchTied(nn.Module):
    """One decoder layer's worth of what goes wrong: a table shared with the head, and a key bias."""

    def __init__(self):
        super().__init__()
        self.e, self.q, self.k = nn.Embedding(7, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.h = nn.Linear(6, 7, bias=False)
        self.h.weight = self.e.weight

    def forward(self, tokens):
        x = self.e(tokens)
        scores = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
        return {"logits": self.h(scores @ x), "count": 1}


class FlaxTied(fnn.Module):
    tie: bool

    @fnn.compact
    def __call__(self, tokens):
        table = fnn.Embed(7, 6, name="e")
        x = table(tokens)
        scores = fnn.softmax(fnn.Dense(6, name="q")(x) @ fnn.Dense(6, name="k")(x).transpose(0, 2, 1))
        out = scores @ x
        return {"logits": table.attend(out) if self.tie else fnn.Dense(7, use_bias=False, name="h")(out), "count": 1}


def tied(tie, seed=0):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    entropy = nn.functional.cross_entropy
    losses = (
        lambda out, y: entropy(out["logits"].flatten(0, 1), y.flatten()),
        lambda out, y: optax.softmax_cross_entropy_with_integer_labels(out["logits"], y).mean(),
    )
    batch = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 5))
    return pair(torch=TorchTied().eval(), jax=FlaxTied(tie), loss=losses, batch=batch)


@pytest.mark.parametrize("seed", one_in(3, range(6)))
def test_an_update_from_a_gradient_that_is_rounding_is_no_finding(seed):
    report = tied(tie=True, seed=seed).check(["value", "ggn", "step", "steps:3"], dtypes=("float64",))
    assert report.ok, report.table()


def test_weights_that_only_torch_ties_are_found_without_a_step():
    bound = tied(tie=False)
    report = bound.check(["value", "gradient"])
    assert not report.ok
    assert str(report.first_divergence) == "e"
    assert [cause.id for cause in report.causes] == ["tied-weights"]
    audit = bound.audit()
    assert not audit.ok
    assert "tied weights: one tensor in torch, 2 leaves in JAX" in audit.table()


@jax.custom_vjp
def _opaque(x):
    return x


_opaque.defvjp(
    lambda x: (x, None),
    lambda _, g: (jax.pure_callback(lambda g: g, jax.ShapeDtypeStruct(g.shape, g.dtype), g, vmap_method="sequential"),),
)


def test_what_cannot_be_computed_is_not_called_a_difference():
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    port = fnn.Sequential([fnn.Dense(3), _opaque])
    report = pair(torch=nn.Sequential(nn.Linear(4, 3)).eval(), jax=port, loss="mse", batch=batch).check(
        ["value", "hvp"]
    )
    assert not report.ok
    assert not report.differs
    assert report.causes == []
    assert "nothing differs, but hvp could not be computed" in report.table()

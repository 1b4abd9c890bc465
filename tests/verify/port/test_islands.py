"""Float32 islands: tables, casts and layers in float32 are judged as what they define, and hide nothing beside them."""

import math

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.verify import pair
from jaxgrad.verify.port.frameworks._lift_jax import _decimal, lifted
from jaxgrad.verify.port.frameworks._lift_torch import widened
from jaxgrad.verify.port.frameworks._torch_module import copied
from tests.turns import covering

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
ROOT = 1e4


def report(torch_model, jax_model, **given):
    """Compare output and gradient in both stages."""
    bound = pair(torch=torch_model.eval(), jax=jax_model, loss="mean_square", batch=(X,), **given)
    return bound.check(["value", "gradient"])


def angles(xp, **dtype):
    """Return the angles of a table of positions in the same float32 steps on either side."""
    return xp.outer(xp.arange(5, **dtype), 1.0 / ROOT ** (xp.arange(0, 8, 2, **dtype) / 8))


class Positions(nn.Module):
    """A table that is made with the model, or at every call; a norm and a layer behind it."""

    def __init__(self, *, made="with the model"):
        super().__init__()
        self.ln, self.fc, self.pe = nn.LayerNorm(8), nn.Linear(8, 3), None
        if made == "with the model":
            self.pe = self.table()

    @staticmethod
    def table():
        a = angles(torch, dtype=torch.float32)
        return torch.cat([a.sin(), a.cos()], -1)

    def forward(self, x):
        return self.fc(self.ln(x + (self.table() if self.pe is None else self.pe)))


TABLE = np.concatenate([np.sin(angles(np, dtype=np.float32)), np.cos(angles(np, dtype=np.float32))], -1)


class JaxPositions(fnn.Module):
    """Its port."""

    epsilon: float = 1e-5
    scale: float = 1.0
    factor: float = 1.0
    dtype: object = jnp.float32
    given: bool = False

    @fnn.compact
    def __call__(self, x):
        a = angles(jnp, dtype=self.dtype)
        table = TABLE if self.given else jnp.concatenate([jnp.sin(a), jnp.cos(a)], -1)
        x = fnn.LayerNorm(self.epsilon, name="ln")(x + self.factor * table)
        return self.scale * fnn.Dense(3, name="fc")(x)


@pytest.mark.parametrize(
    ("made", "port"), covering(["with the model", "at every call"], [{}, {"dtype": None}, {"given": True}])
)
def test_a_table_in_float32_is_no_difference(made, port):
    found = report(Positions(made=made), JaxPositions(**port))
    assert found.ok, str(found)
    assert found.results[0].error < 1e-14
    named = " ".join(found.meta["islands"])
    assert made == "at every call" or "pe" in named
    assert made == "with the model" or not port.get("given") or "a table of shape (5, 8)" in named


def test_a_buffer_that_is_a_table_of_jaxs_has_its_counterpart():
    model = Positions()
    table = model.pe
    del model.pe
    model.register_buffer("pe", table)
    assert report(model, JaxPositions()).ok
    model.pe = table.flip(0)
    found = report(model, JaxPositions())
    # its values differ; as a buffer that is no weight it is not asked for a counterpart
    assert {r.name for r in found.results if r.verdict == "differ"} == {"value", "gradient"}


@pytest.mark.parametrize(
    ("made", "wrong"),
    covering(["with the model", "at every call"], [{"epsilon": 1e-6}, {"scale": 1 + 1e-6}, {"factor": 1 + 2e-6}]),
)
def test_a_small_difference_beside_a_table_is_found(made, wrong):
    found = report(Positions(made=made), JaxPositions(**wrong))
    assert found.results[0].verdict == "differ", str(found)
    assert found.first_divergence.path == {"epsilon": "ln", "scale": "(model)", "factor": "ln"}[next(iter(wrong))]
    assert "epsilon" not in wrong or found.causes[0].id == "epsilon"


class Norm(nn.Module):
    """A norm in float32, as published models have it."""

    def __init__(self, *, narrow):
        super().__init__()
        self.weight, self.narrow = nn.Parameter(torch.ones(8)), narrow

    def forward(self, x):
        h = x.float() if self.narrow else x
        return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.weight


class Cast(nn.Module):
    """The norm, and a softmax in float32."""

    def __init__(self, *, narrow=True):
        super().__init__()
        self.norm, self.fc, self.narrow = Norm(narrow=narrow), nn.Linear(8, 3), narrow

    def forward(self, x):
        x = self.norm(x)
        return self.fc(torch.softmax(x, -1, dtype=torch.float32 if self.narrow else None).to(x.dtype))


class JaxNorm(fnn.Module):
    """The port of the norm."""

    epsilon: float
    narrow: object

    @fnn.compact
    def __call__(self, x):
        h = x.astype(self.narrow or x.dtype)
        h = h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + self.epsilon)
        return h.astype(x.dtype) * self.param("scale", fnn.initializers.ones, (8,))


class JaxCast(fnn.Module):
    """The port; the last layer computes in float32 too."""

    epsilon: float = 1e-6
    narrow: object = jnp.float32

    @fnn.compact
    def __call__(self, x):
        x = JaxNorm(self.epsilon, self.narrow, name="norm")(x)
        x = jax.nn.softmax(x.astype(self.narrow or x.dtype)).astype(x.dtype)
        return fnn.Dense(3, dtype=self.narrow, name="fc")(x)


@pytest.mark.parametrize("narrow", [jnp.float32, None], ids=["both", "torch alone"])
def test_casts_to_float32_are_no_difference(narrow):
    found = report(Cast(), JaxCast(narrow=narrow))
    assert found.ok, str(found)
    assert "torch computes in float32 at norm (float): judged in float64" in found.meta["islands"]


def test_an_epsilon_inside_of_a_cast_is_found():
    assert report(Cast(), JaxCast(epsilon=1e-7)).results[0].verdict == "differ"


def test_a_cast_of_jax_alone_is_a_difference_and_its_line_is_told():
    found = report(Cast(narrow=False), JaxCast())
    assert found.results[0].verdict == "differ"
    assert found.causes[0].id == "dtype"


def test_the_lifted_program_keeps_loops_branches_and_rules():
    def narrow(x):
        h = x.astype(jnp.float32)
        h, _ = jax.lax.scan(lambda c, row: (0.1 * c + row, c), jnp.zeros(3, jnp.float32), h)
        h = jax.lax.fori_loop(0, 2, lambda _, c: jnp.tanh(c) + 0.3, h)
        h = jax.lax.cond(x[0, 0] > 0, lambda h: h * 0.7, lambda h: h / 3, h)
        return jax.checkpoint(lambda h: jax.nn.relu(jax.nn.logsumexp(h) * jax.nn.gelu(h)))(h).astype(x.dtype).sum()

    def wide(x):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jnp, "float32", jnp.float64)
            return narrow(x)

    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(4, 3))
        got, want = (jax.value_and_grad(f)(x) for f in (lifted(narrow, data=True), wide))
        np.testing.assert_allclose(got[0], want[0], rtol=1e-14)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-13)
        plain = jax.value_and_grad(narrow)(x)
        assert abs(plain[0] - want[0]) > 1e-10 * abs(want[0])
        # what depends on the data stays where only tables are lifted
        np.testing.assert_array_equal(lifted(narrow, data=False)(x), narrow(x))


def test_torch_is_widened_inside_of_the_context_only():
    x, held = torch.ones(2, dtype=torch.float64) / 3, torch.ones(2) / 3
    with widened():
        assert x.float().dtype == x.to(torch.float32).dtype == (x * held).dtype == torch.float64
        assert torch.zeros(2).dtype == torch.arange(3, dtype=torch.float32).dtype == torch.float64
        torch.testing.assert_close(x.float(), x, rtol=0, atol=0)
        held[0] = 1.0
    assert held.dtype == torch.zeros(2).dtype == torch.float32
    assert held[0] == 1.0


class Timesteps(nn.Module):
    """A diffusion model's embedding of integer times, in float32 whatever the model is in."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, t):
        freqs = torch.exp(-math.log(10000) * torch.arange(4, dtype=torch.float32) / 4)
        angles = t[:, None].float() * freqs[None]
        return self.fc(torch.cat([torch.cos(angles), torch.sin(angles)], -1))


class JaxTimesteps(fnn.Module):
    """Its port; ``period`` is the longest."""

    period: float = 10000.0

    @fnn.compact
    def __call__(self, t):
        freqs = jnp.exp(-math.log(self.period) * jnp.arange(4, dtype=jnp.float32) / 4)
        angles = t[:, None].astype(jnp.float32) * freqs[None]
        return fnn.Dense(3, name="fc")(jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1))


@pytest.mark.parametrize(("period", "verdict"), [(10000.0, "agree"), (10000.1, "differ")])
def test_what_is_made_of_integers_in_float32_is_judged_as_its_definition(period, verdict):
    batch = (np.array([3, 17, 250]),)
    bound = pair(torch=Timesteps().eval(), jax=JaxTimesteps(period), loss="mean_square", batch=batch)
    (result,) = bound.check(["value"], dtypes=("float64",)).results
    assert result.verdict == verdict


@pytest.mark.parametrize(
    "number", [1e-5, 0.044715, math.log(10000), -math.log(2), math.sqrt(2 / math.pi), math.sqrt(0.5), math.pi / 4]
)
def test_a_literal_is_taken_for_the_number_with_the_fewest_digits(number):
    assert abs(float(_decimal(np.float32(number))) - number) <= 2 * np.spacing(abs(number))


def test_a_literal_that_nothing_short_stands_for_stays_as_it_is():
    number = np.float32(1.0507009873554805)
    assert float(_decimal(number)) == float(number)


def test_a_model_that_keeps_what_it_computed_of_its_weights_is_copied():
    net = nn.utils.weight_norm(nn.Linear(8, 3))
    net(torch.ones(2, 8))
    assert not net.weight.is_leaf
    twin = copied(net)
    assert torch.equal(twin(torch.ones(2, 8)), net(torch.ones(2, 8)))
    assert twin.weight_v is not net.weight_v

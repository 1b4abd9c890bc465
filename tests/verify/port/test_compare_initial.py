"""The first weights of both sides are compared by their distributions: with certainty, or not at all."""

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgrad.verify import pair
from jaxgrad.verify.port._compare_initial import Drawn, compare, describe, differ, family

INIT = fnn.initializers
GENERATOR = np.random.default_rng(0)


class Net(fnn.Module):
    kernel: object = INIT.lecun_normal()
    bias: object = INIT.zeros

    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(32, name="fc", kernel_init=self.kernel, bias_init=self.bias)(x)


def rows(port, change=None):
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("fc", torch.nn.Linear(24, 32))
    if change:
        change(net.fc)
    bound = pair(torch=net.eval(), jax=port, batch=np.ones((2, 24), np.float32), loss="mean_square")
    audit = bound.audit(prove=False)
    assert audit.ok
    return {s.jax: s for s in audit.settings if s.name == "initial weights"}, audit


def test_the_defaults_of_both_frameworks_are_told_with_what_to_write():
    found, audit = rows(Net())
    kernel, bias = found["fc/kernel"], found["fc/bias"]
    assert (kernel.torch_value, kernel.jax_value) == (
        "uniform of deviation sqrt(1/3 / inputs)",
        "truncated normal of deviation sqrt(1 / inputs)",
    )
    assert kernel.effect.startswith("1.73 times as large in JAX; kernel_init = variance_scaling(1 / 3, 'fan_in', 'un")
    assert bias.jax_value == "zeros"
    assert "draws uniformly between -sqrt(1 / inputs) and" in bias.effect
    assert "initial weights" in audit.table()


def test_what_the_advice_says_draws_as_torch_does():
    def uniform(key, shape, dtype):
        return INIT.uniform(2 * 24**-0.5)(key, shape, dtype) - 24**-0.5

    found, _ = rows(Net(INIT.variance_scaling(1 / 3, "fan_in", "uniform"), uniform))
    assert found == {}


@pytest.mark.parametrize(
    ("change", "init", "same"),
    [
        (torch.nn.init.kaiming_normal_, INIT.variance_scaling(2.0, "fan_in", "normal"), True),
        (torch.nn.init.xavier_uniform_, INIT.xavier_uniform(), True),
        (torch.nn.init.xavier_uniform_, INIT.xavier_normal(), False),
        (lambda w: torch.nn.init.normal_(w, std=0.02), INIT.normal(0.02), True),
        (lambda w: torch.nn.init.trunc_normal_(w, std=0.02), INIT.normal(0.03), False),
        (torch.nn.init.zeros_, INIT.zeros, True),
        (torch.nn.init.zeros_, INIT.ones, False),
    ],
)
def test_initialisers_of_the_same_name_or_another(change, init, same):
    found, _ = rows(Net(init), lambda fc: change(fc.weight))
    assert ("fc/kernel" not in found) == same


def test_trained_weights_are_no_draw():
    def train(fc):
        fc.weight.data[:] = torch.eye(32, 24)

    found, audit = rows(Net(), train)
    assert "fc/kernel" not in found
    assert "the initialisation of fc.weight was not audited: torch holds no fresh draw of it" in audit.notes


def test_no_sample_is_told_apart_from_its_own_distribution():
    quantiles = (np.arange(20_000) + 0.5) / 20_000 * 2 - 1
    exact = Drawn.of(quantiles, exact=True)
    for size in (1, 3, 20, 300, 5000):
        for _ in range(40):
            sample = Drawn.of(GENERATOR.uniform(-1, 1, size))
            assert not differ(sample, exact) or sample.constant
            assert not differ(sample, Drawn.of(GENERATOR.uniform(-1, 1, size + 1))) or sample.constant


def test_families_and_words():
    assert family(Drawn.of(GENERATOR.normal(size=20_000))) == "normal"
    assert family(Drawn.of(GENERATOR.uniform(-3, 3, 2000))) == "uniform"
    assert family(Drawn.of(np.concatenate([np.full(500, 1.0), np.full(500, -1.0)]))) == ""
    assert describe(Drawn.of(np.full(3, 0.5)), (0, 0)) == "all 0.5"
    assert compare(Drawn.of(jnp.zeros(3)), Drawn.of(jnp.zeros(3)), "a", "a/bias", (0, 0)) == []

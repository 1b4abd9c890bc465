"""Layers of equal shapes whose names say nothing: the losses of both models tell which is which."""

import flax.linen as fnn
import numpy as np
import torch

from jaxgrad.models._search import Match
from jaxgrad.verify import pair
from jaxgrad.verify.port.mapping._twins import exchanges

BATCH = np.random.default_rng(0).normal(size=(4, 3)), np.zeros((4, 3))


class Two(torch.nn.Module):
    """Two layers, of which the second to be made is the first to run."""

    def __init__(self):
        super().__init__()
        self.kind, self.good = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

    def forward(self, x):
        return torch.tanh(self.good(x)) - self.kind(x)


class Port(fnn.Module):
    factor: float = 1.0

    @fnn.compact
    def __call__(self, x):
        # they run in the other order than in torch, and their names say nothing
        other = fnn.Dense(3, name="p")(x)
        return fnn.tanh(fnn.Dense(3, name="q")(x)) * self.factor - other


def test_twins_are_told_apart_by_what_both_models_compute():
    bound = pair(torch=Two().eval(), jax=Port(), loss="mse", batch=BATCH)
    assert {e.jax: e.torch for e in bound.mapping.entries}["q/kernel"] == ("kind.weight",)
    found = bound.prepared.mapping
    assert {e.jax: e.torch for e in found.entries}["q/kernel"] == ("good.weight",)
    assert {*found.links} >= {("good", "q"), ("kind", "p")}
    assert found.undecided == []


def test_twins_that_no_exchange_makes_equal_stay_and_are_told():
    bound = pair(torch=Two().eval(), jax=Port(1.5), loss="mse", batch=BATCH)
    found = bound.prepared.mapping
    assert found.entries == bound.mapping.entries
    assert "which of kind, good lies in which of p, q" in found.undecided[0]


def test_every_two_twins_are_exchanged_and_then_all_that_can_be_at_once():
    twins = [
        Match(t, j, (), {}, (r,)) for t, j, r in (("a", "x", "y"), ("b", "y", "x"), ("c", "z", "w"), ("d", "w", "z"))
    ]
    first, second = {"a": "y", "b": "x"}, {"c": "w", "d": "z"}
    assert list(exchanges(twins)) == [first, second, first | second]

"""Rates of dropout and stochastic depth are compared wherever they stand: in layers, by hand, in functions."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional

from jaxgrad.verify import pair
from jaxgrad.verify.port._compare_rates import compare_drops
from jaxgrad.verify.port.frameworks._drops import Drop

X = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)


class TorchPath(torch.nn.Module):
    """Stochastic depth in the older and in the newer form, whose rate has no known name."""

    def __init__(self, part, older):
        super().__init__()
        self.part, self.older = part, older

    def forward(self, x):
        if not self.training:
            return x
        kept, shape = 1 - self.part, (len(x), 1, 1)
        if self.older:
            mask = kept + torch.rand(shape, dtype=x.dtype)
            return x.div(kept) * mask.floor_()
        return x * x.new_empty(shape).bernoulli_(kept).div_(kept)


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
        self.drop, self.old, self.new = torch.nn.Dropout(0.1), TorchPath(0.2, True), TorchPath(0.3, False)
        self.attend = torch.nn.MultiheadAttention(8, 2, dropout=0.25, batch_first=True)

    def forward(self, x):
        x = self.new(self.old(self.drop(torch.relu(self.fc1(x)))))
        x = functional.dropout(x, 0.4, self.training)
        return self.fc2(self.attend(x, x, x)[0])


class Path(fnn.Module):
    part: float
    older: bool
    whole: bool = True

    @fnn.compact
    def __call__(self, x, deterministic: bool):
        if deterministic:
            return x
        key, shape, kept = self.make_rng("drop_path"), (len(x), 1, 1) if self.whole else x.shape, 1 - self.part
        if self.older:
            return x / kept * jnp.floor(kept + jax.random.uniform(key, shape))
        return jnp.where(jax.random.bernoulli(key, self.part, shape), 0, x / kept)


class Net(fnn.Module):
    rates: tuple = (0.1, 0.2, 0.3, 0.4, 0.25)
    whole: bool = True

    @fnn.compact
    def __call__(self, x, train=False):
        a, b, c, d, e = self.rates
        x = fnn.Dropout(a)(fnn.relu(fnn.Dense(8, name="fc1")(x)), deterministic=not train)
        x = Path(c, False, self.whole)(Path(b, True)(x, not train), deterministic=not train)
        x = fnn.Dropout(d, deterministic=not train)(x)
        x = fnn.MultiHeadDotProductAttention(2, dropout_rate=e, name="attend")(x, deterministic=not train)
        return fnn.Dense(3, name="fc2")(x)


def found(port, module=TorchNet, **kwargs):
    bound = pair(torch=module().eval(), jax=port, batch=X, loss="mean_square", **kwargs)
    audit = bound.audit(prove=False)
    return audit, [(s.torch, s.name, s.torch_value, s.jax_value) for s in audit.settings if "dro" in s.name]


@pytest.mark.parametrize("kwargs", [{}, {"jax_kwargs": {"train": False}}])
def test_the_same_rates_are_no_difference(kwargs):
    audit, rows = found(Net(), **kwargs)
    assert rows == []
    assert audit.ok


@pytest.mark.parametrize(
    ("place", "layer", "want", "got"),
    [(0, "drop", "0.1", "0.9"), (1, "old", "0.2", "0.25"), (2, "new", "0.3", "0.7"), (3, "(model)", "0.4", "0.35"),
     (4, "attend", "0.25", "0.1")],
)  # fmt: skip
def test_another_rate_is_found_at_its_place(place, layer, want, got):
    rates = list(Net.rates)
    rates[place] = float(got)
    audit, rows = found(Net(tuple(rates)))
    assert rows == [(layer, "dropout rate", want, got)]
    assert not audit.ok
    assert f"write {want} in JAX" in str(audit)


def test_rates_at_exchanged_places_and_masks_of_another_shape_are_found():
    assert len(found(Net((0.2, 0.1, 0.3, 0.4, 0.25)))[1]) == 2
    assert found(Net(whole=False))[1] == [("new", "what dropout drops", "whole examples", "single entries")]


class NnxPath(nnx.Module):
    def __init__(self, part, rngs):
        self.part, self.rngs, self.deterministic = part, rngs, False

    def __call__(self, x):
        if self.deterministic:
            return x
        return x * jax.random.bernoulli(self.rngs.dropout(), 1 - self.part, (len(x), 1, 1)) / (1 - self.part)


class NnxNet(nnx.Module):
    def __init__(self, part, rngs):
        self.fc1, self.drop = nnx.Linear(6, 8, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)
        self.path, self.fc2 = NnxPath(part, rngs), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.fc2(self.path(self.drop(nnx.relu(self.fc1(x)))))


class TorchSmall(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
        self.drop, self.path = torch.nn.Dropout(0.1), TorchPath(0.2, False)

    def forward(self, x):
        return self.fc2(self.path(self.drop(torch.relu(self.fc1(x)))))


def test_nnx_modules_are_seen_too():
    assert found(NnxNet(0.2, nnx.Rngs(0)), TorchSmall)[1] == []
    assert found(NnxNet(0.3, nnx.Rngs(0)), TorchSmall)[1] == [("path", "dropout rate", "0.2", "0.3")]


def test_a_port_that_drops_nothing_is_told_and_harmless():
    class Plain(fnn.Module):
        @fnn.compact
        def __call__(self, x):
            return fnn.Dense(3, name="fc2")(fnn.relu(fnn.Dense(8, name="fc1")(x)))

    audit, rows = found(Plain(), TorchSmall)
    assert rows == [("drop", "dropout rates", "2 places: 0.1, 0.2", "0 places")]
    assert audit.ok


def test_a_port_that_drops_where_torch_does_not_trains_otherwise():
    (setting,) = compare_drops([], [Drop("drop", 0.2, "entries")])
    assert (setting.jax, setting.torch_value, setting.jax_value) == ("drop", "0 places", "1 place: 0.2")
    assert not setting.harmless
    assert "write the rate 0 in JAX" in setting.effect


def test_an_audit_leaves_the_generator_of_torch_alone():
    bound = pair(torch=TorchSmall().eval(), jax=NnxNet(0.2, nnx.Rngs(0)), batch=X, loss="mean_square")
    state = torch.random.get_rng_state()
    bound.audit(prove=False)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("theirs", "ours", "names"),
    [
        ([("a", 0.1), ("b", 0.2)], [("b", 0.3)], ["dropout rate", "dropout rates"]),
        ([("a", 0.1)], [("a", 0.1), ("b", 0.1)], ["dropout rates"]),
        ([("a", 0.1)], [("z", 0.1)], []),
    ],
)
def test_places_are_aligned_by_name_where_their_numbers_differ(theirs, ours, names):
    made = compare_drops(*([Drop(*one) for one in side] for side in (theirs, ours)))
    assert [s.name for s in made] == names

"""A pair is data: what is done with it gives new data, and leaves it as it was."""

import dataclasses
import inspect

import flax.linen as fnn
import jax
import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.verify import Pair, PairError, pair
from jaxgrad.verify.port.frameworks._torch_module import TorchSide, running
from jaxgrad.verify.port.mapping._flatten_order import resolve_flatten_order
from jaxgrad.verify.port.mapping._model_pair import PairOptions

X = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
Y = np.random.default_rng(1).normal(size=(2, 5))


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Linear(32, 5)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).flatten(1))


class Port(fnn.Module):
    channels_first: bool = False

    @fnn.compact
    def __call__(self, x):
        x = fnn.BatchNorm(use_running_average=True, name="norm")(fnn.Conv(2, (1, 1), name="conv")(x))
        x = x.transpose(0, 3, 1, 2) if self.channels_first else x
        return fnn.Dense(5, name="fc")(x.reshape(len(x), -1))


def bound(port=None, **options):
    torch.manual_seed(0)
    return pair(torch=Image().eval(), jax=port or Port(), loss="mse", batch=(X, Y), **options)


def contents(record):
    """Every field of a record, its arrays copied."""
    return {
        f.name: jax.tree.map(np.array, value) if isinstance(value := getattr(record, f.name), dict) else value
        for f in dataclasses.fields(record)
    }


def same(before, after):
    """Whether two records hold the same."""
    return before.keys() == after.keys() and all(
        jax.tree.all(jax.tree.map(np.array_equal, before[n], after[n])) if isinstance(before[n], dict) else
        before[n] is after[n] for n in before
    )  # fmt: skip


def test_a_check_leaves_its_pair_as_it_was():
    given = bound()
    before, side = contents(given), contents(given.torch)
    assert given.check(["value"], dtypes=("float64",)).ok
    assert given.audit(prove=False).ok
    assert same(before, contents(given))
    assert same(side, {n: x for n, x in contents(given.torch).items() if n != "copies"} | {"copies": side["copies"]})
    assert given.islands is None
    assert given.flattened == {}
    assert given.prepared is given.prepared
    assert given.prepared.flattened == {"fc": (2, 4, 4)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.batch = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.torch.params = {}


def test_an_image_that_is_flattened_as_in_torch_keeps_its_kernels():
    given = bound(Port(channels_first=True))
    assert resolve_flatten_order(given) is given


def test_constants_are_perturbed_in_a_copy():
    plain = TorchSide.of(Image().eval(), None)
    moved = plain.perturb_constants()
    assert set(moved.perturbed) == {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert np.ptp(plain.params["norm.weight"]) == 0
    assert np.ptp(moved.params["norm.weight"]) > 0
    assert (moved.buffers["norm.running_var"] >= 1).all()
    assert moved.params["fc.weight"] is plain.params["fc.weight"]
    # drawn by name: a second time it is the same
    np.testing.assert_array_equal(moved.params["norm.bias"], plain.perturb_constants().params["norm.bias"])


def test_the_old_name_of_an_argument_is_still_taken():
    with pytest.warns(DeprecationWarning, match="excite= is now perturb_constants="):
        given = bound(excite=False)
    assert given.torch.perturbed == ()
    assert bound(perturb_constants=False).torch.perturbed == ()
    with pytest.raises(TypeError, match="give perturb_constants= alone"):
        bound(excite=False, perturb_constants=True)


def test_tables_are_other_numbers_in_float64_alone():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("held", torch.ones(2) / 3)
            self.plain = torch.ones(2) / 3

        def forward(self, x):
            return x + self.held + self.plain

    third = np.full(2, 1 / 3)
    side = TorchSide.of(Table().eval(), None)
    other = side.with_tables({"held": third, "plain": third})
    assert side.with_tables({}) is side
    for one, dtype, want in ((side, "float64", np.float32(1 / 3)), (other, "float64", 1 / 3)):
        held = one.tensors(dtype)[1]["held"].numpy()
        np.testing.assert_array_equal(held, np.full(2, want))
        np.testing.assert_array_equal(one.at(dtype).plain.numpy(), held)
    assert other.tensors("float32")[1]["held"].numpy()[0] == np.float32(1 / 3)


def test_what_is_no_torch_module_does_not_run():
    with pytest.raises(PairError, match="computes nothing"):
        running(object())


@pytest.mark.parametrize("name", ["check", "audit"])
def test_a_signature_says_what_it_takes(name):
    given = inspect.signature(getattr(Pair, name)).parameters.values()
    assert all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in given)
    assert all(p.annotation not in (inspect.Parameter.empty, "Any") for p in given if p.name != "self")


def test_options_have_the_defaults_of_a_pair():
    given = bound().options
    assert given == PairOptions()

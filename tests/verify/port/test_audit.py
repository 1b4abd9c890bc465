"""The audit lists settings that differ with the size of the effect, and proves what shapes leave open."""

import collections

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgrad.verify import pair
from tests.verify.mutations import models_jax
from tests.verify.mutations.planting import matched, planted, square_transposed


def settings(kind, ours):
    return {(s.torch or s.jax, s.name): s for s in planted(kind, ours)().audit(prove=False).settings if not s.harmless}


def test_layers_of_both_frameworks_under_the_same_names_need_no_proof():
    audit = matched("mlp").audit()
    assert audit.ok
    assert audit.ambiguous == []
    assert audit.table().endswith("the audit found nothing")


class Twisted(fnn.Module):
    """Two layers of the same shapes, whose names do not say which is which, and a square matrix of one's own."""

    @fnn.compact
    def __call__(self, x):
        x = fnn.Dense(4, name="p")(x)
        return fnn.Dense(4, name="q")(x) @ self.param("w", fnn.initializers.ones, (4, 4))


def test_what_names_and_shapes_leave_open_is_proven_by_value():
    layers = {"a": torch.nn.Linear(4, 4), "b": torch.nn.Linear(4, 4), "c": torch.nn.Linear(4, 4, bias=False)}
    net = torch.nn.Sequential(collections.OrderedDict(layers)).eval()
    audit = pair(torch=net, jax=Twisted(), loss="mean_square", batch=np.ones((2, 4), np.float32)).audit()
    assert {entry["jax"] for entry in audit.ambiguous} == {"p/kernel", "p/bias", "q/kernel", "q/bias", "w"}
    assert {entry["proof"] for entry in audit.ambiguous} == {"proven by value"}


def test_a_port_that_holds_the_effective_kernel_of_weight_norm():
    net = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3))).eval()
    net[0].parametrizations.weight.original0.data *= 3
    bound = pair(torch=net, jax=fnn.Dense(3), loss="mean_square", batch=np.ones((2, 4), np.float32))
    assert bound.mapping.folded == ("0",)
    audit = bound.audit()
    assert audit.ok
    assert any("weight norm" in note for note in audit.notes)
    assert bound.check(["value"], dtypes=("float64",)).ok


def test_settings_that_differ_are_listed_with_their_effect():
    found = settings("mlp", {"ln_args": {"epsilon": 1e-3}, "act": fnn.gelu, "fc2_args": {"dtype": jnp.bfloat16}})
    assert found.keys() == {("ln", "epsilon"), ("act", "GELU"), ("fc2", "dtype")}
    assert found["ln", "epsilon"].effect == "about 4.9e-04 of the output at unit variance"
    assert (found["act", "GELU"].torch_value, found["act", "GELU"].jax_value) == ("erf", "tanh")


def test_geometry_and_groups_of_layers_are_compared():
    found = settings("cnn", {"padding2": "SAME", "gn": {"num_groups": 2}})
    assert found.keys() == {("conv2", "padding"), ("gn", "num_groups")}


def test_what_only_training_or_fresh_weights_see_is_harmless():
    audit = planted("cnn", {"bn": {"momentum": 0.99}})().audit(prove=False)
    notes = {s.name: s.effect for s in audit.settings if s.harmless}
    assert notes["momentum"] == "running statistics move 0.1 times as far in a step"
    assert notes["initial weights"].endswith("times larger in JAX")
    assert audit.ok


@pytest.mark.parametrize(
    ("build", "proof"),
    [
        (planted("mlp", variables=square_transposed), "wrong by value: it is the transpose"),
        (planted("mlp", {"fc2": models_jax.TransposedDense}), "not proven: the gradients differ, here or further on"),
    ],
)
def test_a_square_kernel_that_is_not_what_it_seems(build, proof):
    entries = {entry["jax"]: entry for entry in build().audit().entries}
    assert entries["fc2/kernel"]["proof"] == proof


def test_layers_that_share_a_setting_share_a_line():
    table = planted("transformer", {"all": {"eps": 1e-6}})().audit(prove=False).table()
    assert "differs: blocks.0.ln1 <-> blocks_0/ln1 and 3 more: epsilon: 1e-05 in torch, 1e-06 in JAX" in table

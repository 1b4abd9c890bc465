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


class Normed(fnn.Module):
    """Two norms whose names do not say which is which."""

    @fnn.compact
    def __call__(self, x):
        return fnn.BatchNorm(True, epsilon=1e-5, name="q")(jnp.tanh(fnn.BatchNorm(True, epsilon=1e-5, name="p")(x)))


def test_statistics_of_norms_are_proven_with_their_layer():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.BatchNorm1d(4)).eval()
    audit = pair(torch=net, jax=Normed(), loss="mean_square", batch=np.ones((2, 4), np.float32)).audit()
    proofs = {entry["jax"]: entry["proof"] for entry in audit.ambiguous}
    assert {"batch_stats/p/mean", "batch_stats/q/var"} <= proofs.keys()
    assert set(proofs.values()) == {"proven by value"}
    assert "num_batches_tracked" not in audit.table()


def own_weights(net, kernel=lambda w: w.T, statistics=lambda mean, var: (mean, var)):
    """Return what a conversion script makes of a norm and a square layer."""
    held = {name: x.detach().numpy() for name, x in net.state_dict().items()}
    mean, var = statistics(held["norm.running_mean"], held["norm.running_var"])
    params = {"norm": {"scale": held["norm.weight"], "bias": held["norm.bias"]},
              "fc": {"kernel": kernel(held["fc.weight"]), "bias": held["fc.bias"]}}  # fmt: skip
    return {"params": params, "batch_stats": {"norm": {"mean": mean, "var": var}}}


class Clear(fnn.Module):
    """A norm and a square layer under torch's names, which need no proof."""

    @fnn.compact
    def __call__(self, x):
        return fnn.Dense(4, name="fc")(fnn.BatchNorm(True, epsilon=1e-5, name="norm")(x))


@pytest.mark.parametrize(
    ("wrong", "leaves"),
    [
        ({}, set()),
        ({"kernel": lambda w: w}, {"fc/kernel"}),
        ({"kernel": lambda w: w.T + 1e-3 * np.eye(4)}, {"fc/kernel"}),
        ({"statistics": lambda mean, var: (var, mean)}, {"batch_stats/norm/mean", "batch_stats/norm/var"}),
        ({"statistics": lambda mean, var: (mean, np.sqrt(var))}, {"batch_stats/norm/var"}),
        ({"statistics": lambda mean, var: (0 * mean, var)}, {"batch_stats/norm/mean"}),
    ],
)
def test_a_port_with_weights_of_its_own_is_compared_entry_by_entry(wrong, leaves):
    layers = {"norm": torch.nn.BatchNorm1d(4), "fc": torch.nn.Linear(4, 4)}
    net = torch.nn.Sequential(collections.OrderedDict(layers)).eval()
    net.norm.running_mean.copy_(torch.arange(4.0))
    net.norm.running_var.copy_(torch.arange(4.0) + 0.5)
    given = {"torch": net, "loss": "mean_square", "batch": np.ones((2, 4), np.float32), "weights": "own"}
    audit = pair(jax=(Clear(), own_weights(net, **wrong)), **given).audit()
    assert {e["jax"] for e in audit.entries if e["proof"].startswith("wrong by value")} == leaves
    assert all(e["proof"] for e in audit.entries)
    assert audit.ok == (not leaves)


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
    notes = {s.name: s.effect for s in audit.settings if s.harmless and not s.jax.endswith("bias")}
    assert notes["momentum"] == "running statistics move 0.1 times as far in a step"
    assert "times as large in JAX; kernel_init = " in notes["initial weights"]
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


class Spectral(fnn.Module):
    @fnn.compact
    def __call__(self, x):
        return fnn.SpectralNorm(fnn.Dense(5, name="fc"), name="norm")(x, update_stats=False)


@pytest.mark.parametrize("steps", [2, 400])
def test_the_power_iterations_of_spectral_norm_are_told_apart_until_they_converge(steps):
    """Both sides by an iteration of our own: Flax is a step ahead of torch, and no epsilon is in it."""
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(6, 5), n_power_iterations=steps)
    net = torch.nn.Sequential(collections.OrderedDict(fc=layer)).double()
    # what is kept was made for another matrix
    layer.parametrizations.weight.original.data = torch.randn(5, 6, dtype=torch.float64)
    net.train()(torch.ones(1, 6, dtype=torch.float64))
    bound = pair(torch=net.eval(), jax=Spectral(), loss="mean_square", batch=np.ones((2, 6), np.float32))
    (found,) = [s for s in bound.audit(prove=False).settings if s.name == "power iteration"]
    assert found.harmless == (steps == 400)
    kept, matrix = layer.parametrizations.weight[0], layer.parametrizations.weight.original.detach().numpy()
    u, v = kept._u.numpy(), kept._v.numpy()
    next_v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
    apart = abs(np.linalg.norm(matrix @ next_v) / (u @ matrix @ v) - 1)
    assert f"{apart:.1e}" in found.effect

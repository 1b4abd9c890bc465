"""`gradient.named_gradients`: torch's names and order, paths without a mapping, and mappings that do not fit."""

import jax
import jax.numpy as jnp
import pytest
import torch

import torch_ref.gradient
from jaxgrad.gradient import named_gradients, parameter_gradient
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in
from tests.zoo import pair

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

PAIRS = tuple((f"{2 * i}.{kind}", f"layer{i}/{kind}") for i in range(3) for kind in ("weight", "bias"))


class Mapping:
    """What a network's mapping looks like to this function."""

    def pairs(self):
        return PAIRS


MAPPING = Mapping()


def as_module(params):
    """Return the tanh network of the tests as a torch module with the same weights."""
    layers = [torch.nn.Linear(*reversed(layer["weight"].shape)).double() for layer in params.values()]
    for layer, given in zip(layers, params.values(), strict=True):
        layer.load_state_dict(given)
    return torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])


@pytest.mark.parametrize("mapping", [PAIRS, list(PAIRS), MAPPING, [(n, tuple(p.split("/"))) for n, p in PAIRS]])
def test_matches_named_parameters(mapping):
    problem = regression()
    module = as_module(problem.params_torch)
    x, y = problem.data_torch
    ((module(x) - y) ** 2).mean().backward()
    want = {name: p.grad for name, p in module.named_parameters()}
    got = named_gradients(mean_square, problem.params, *problem.data, mapping=mapping)
    assert list(got) == list(want)
    assert_parity(dict(got), want)


def test_matches_the_paths_of_the_twin():
    problem = regression()
    got = named_gradients(mean_square, problem.params, *problem.data)
    want = torch_ref.gradient.named_gradients(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(dict(got), want)
    assert list(got) == [f"layer{i}/{kind}" for i in range(3) for kind in ("bias", "weight")]


def test_order_survives_an_outer_jit():
    problem = regression()
    got = jax.jit(lambda p: named_gradients(mean_square, p, *problem.data, mapping=MAPPING))(problem.params)
    assert list(got) == [name for name, _ in PAIRS]


def test_wrt_leaves_names_out():
    problem = regression()
    got = named_gradients(
        mean_square, problem.params, *problem.data, mapping=MAPPING, wrt=lambda path, leaf: leaf.ndim > 1
    )
    assert list(got) == ["0.weight", "2.weight", "4.weight"]
    full = named_gradients(mean_square, problem.params, *problem.data, mapping=MAPPING)
    assert_parity(dict(got), {name: full[name] for name in got})


def attend(params):
    return jnp.sum(params["query"] ** 2) + jnp.sum(params["key"] ** 3)


def test_a_name_of_several_leaves_has_a_tuple():
    params = {"query": jnp.ones(2), "key": jnp.ones(3)}
    pairs = [("in_proj", "query"), ("in_proj", "key"), ("tied", "key")]
    gradient = parameter_gradient(attend, params)
    want = {"in_proj": (gradient["query"], gradient["key"]), "tied": gradient["key"]}
    assert_parity(dict(named_gradients(attend, params, mapping=pairs)), want)


@pytest.mark.parametrize("name", one_in(2, ["BatchNormCNN", "TransformerEncoder"]))
def test_a_mapping_of_the_models_gives_the_names_of_the_module(name):
    it = pair(name, "linen")
    got = named_gradients(it.loss, it.params, *it.data, mapping=it.mapping)
    assert list(got) == [key for key, _ in it.module.named_parameters()]
    gradient = parameter_gradient(it.loss, it.params, *it.data)
    given = [leaf for entry in got.values() for leaf in jax.tree.leaves(entry)]
    assert_parity(sum(leaf.sum() for leaf in given), sum(leaf.sum() for leaf in jax.tree.leaves(gradient)))


def test_rejects_a_mapping_that_does_not_fit():
    problem = regression()
    pairs = [*PAIRS[1:], ("6.weight", "layer3/weight")]
    complaint = r"(?s)6.weight -> layer3/weight: params has no such leaf.*layer0/weight: no name is given to it"
    with pytest.raises(ValueError, match=complaint):
        named_gradients(mean_square, problem.params, *problem.data, mapping=pairs)


def test_rejects_two_leaves_of_one_path():
    with pytest.raises(ValueError, match=r"two leaves of params have one path.*a/b, a/b"):
        named_gradients(lambda p: p["a"]["b"] * p["a/b"], {"a": {"b": 1.0}, "a/b": 2.0})

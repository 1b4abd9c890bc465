"""Layers that JAX stacks in one leaf for a scan: each is found for the torch layer of its place."""

import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.models._facts import JaxFacts, torch_facts
from jaxgrad.models._search import correspond
from jaxgrad.models._stacked import Slice

LAYERS = 4


def net():
    """Return a torch model with a list of alike layers between two others."""
    block = lambda: nn.ModuleDict({"fc1": nn.Linear(3, 5), "fc2": nn.Linear(5, 3)})  # noqa: E731
    parts = {"emb": nn.Linear(2, 3), "layers": nn.ModuleList(block() for _ in range(LAYERS)), "head": nn.Linear(3, 7)}
    return nn.ModuleDict(parts)


def leaves(axis):
    """Return the leaves of the port: those of the layers have an axis more."""
    plain = {"layers/fc1/kernel": (3, 5), "layers/fc1/bias": (5,), "layers/fc2/kernel": (5, 3), "layers/fc2/bias": (3,)}
    stacked = {path: (*shape[:axis], LAYERS, *shape[axis:]) for path, shape in plain.items()}
    lone = {"emb/kernel": (2, 3), "emb/bias": (3,), "head/kernel": (3, 7), "head/bias": (7,)}
    return {**lone, **stacked}


@pytest.mark.parametrize("axis", [0, 1])
def test_every_layer_goes_to_its_place_in_the_stack(axis):
    found = correspond(torch_facts(net()), JaxFacts(leaves(axis)))
    assert found.unused == found.unfilled == ()
    paths = {link.name: link.path for link in found.links}
    assert {paths[f"layers.{i}.fc1.weight"] for i in range(LAYERS)} == {"layers/fc1/kernel"}
    assert paths["head.weight"] == "head/kernel"


def test_the_numbers_of_a_layer_stand_at_its_place():
    found = correspond(torch_facts(net()), JaxFacts(leaves(0)))
    whole = np.zeros(leaves(0)["layers/fc1/kernel"])
    weights = {i: torch.randn(5, 3).numpy() for i in range(LAYERS)}
    for link in found.links:
        if link.path == "layers/fc1/kernel":
            place = int(link.name.split(".")[1])
            whole += link.layout.to_jax(weights[place])
    for i, weight in weights.items():
        np.testing.assert_array_equal(whole[i], weight.T)


def test_a_slice_is_named_by_its_number():
    assert Slice("layers/kernel", (4, 3), 0, 2, "layers/").number == "layers/2/"

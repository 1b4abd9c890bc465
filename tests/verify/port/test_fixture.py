"""The fixture asserts equivalence, and leaves the page of a failure behind."""

import flax.linen as fnn
import numpy as np
import pytest
import torch
from torch import nn

pytest_plugins = ["jaxgrad.verify.pytest_plugin"]


def test_fixture(models_equivalent, tmp_path):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    given = {
        "torch": nn.Sequential(nn.Linear(4, 2), nn.Tanh()).eval(),
        "what": ["value"],
        "loss": "mse",
        "batch": (rng.normal(size=(3, 4)), rng.normal(size=(3, 2))),
        "check": {"dtypes": ("float64",)},
    }
    assert models_equivalent(jax=fnn.Sequential([fnn.Dense(2), fnn.tanh]), **given).ok
    with pytest.raises(AssertionError, match=r"The models are not equivalent!(.|\n)*report\.html"):
        models_equivalent(jax=fnn.Sequential([fnn.Dense(2), fnn.relu]), **given)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")

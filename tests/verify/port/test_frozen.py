"""A torch model that is frozen as a whole is compared all the same; and what a step without an optimizer says."""

import flax.linen as fnn
import numpy as np
import torch

from jaxgrad.verify import pair
from jaxgrad.verify.port._check import ASSUMED

BATCH = np.random.default_rng(0).normal(size=(4, 5)), np.zeros((4, 3))


def test_a_frozen_model_is_compared_in_all_its_derivatives():
    frozen = torch.nn.Linear(5, 3).eval().requires_grad_(False)
    bound = pair(torch=frozen, jax=fnn.Dense(3), loss="mse", batch=BATCH)
    report = bound.check(["gradient", "hvp", "step"], dtypes=("float64",))
    assert report.ok, report.table()
    assert all(leaf.size for result in report.results for leaf in result.leaves)
    assert {result.name: len(result.leaves) for result in report.results}["hvp"] == 2
    assert ASSUMED in str(report)
    assert not any(p.requires_grad for p in frozen.parameters())


class Table(torch.nn.Module):
    """A model that trains nothing: all it holds is a table."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.arange(5.0), requires_grad=False)

    def forward(self, x):
        return (x * self.table)[:, :3]


def test_a_table_that_the_port_writes_out_is_no_weight_and_has_no_derivatives():
    bound = pair(torch=Table().eval(), jax=(lambda params, x: (x * np.arange(5.0))[:, :3], {}), loss="mse", batch=BATCH)
    report = bound.check(["value", "gradient", "hvp"], dtypes=("float64",))
    assert report.ok, report.table()
    assert "the torch model has no parameters that are trained" in report.to_json()

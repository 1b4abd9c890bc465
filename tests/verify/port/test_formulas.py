"""Torch functions without a right second derivative are computed by formulas, and agree with central differences."""

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.verify import pair
from jaxgrad.verify.port.frameworks._formulas import by_formula, notes

V, G = torch.randn(5, 7, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64) + 1
FUNCTIONS = {
    "hard sigmoid": (torch.nn.functional.hardsigmoid, (3 * V,)),
    "weight norm of rows": (lambda v, g: torch._weight_norm(v, g, 0), (V, G)),
    "weight norm of columns": (lambda v, g: torch._weight_norm(v, g, 1), (V, torch.ones(1, 7).double())),
    "weight norm of all": (lambda v, g: torch._weight_norm(v, g, -1), (V, torch.ones(()).double())),
    "distances": (torch.cdist, (V, V[:3] + 1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_stay_and_derivatives_are_right(name):
    function, given = FUNCTIONS[name]
    plain = function(*given)
    given = tuple(x.clone().requires_grad_() for x in given)
    with by_formula():
        assert torch.allclose(function(*given), plain, rtol=0, atol=10 * torch.finfo(torch.float64).eps)
        assert torch.autograd.gradcheck(function, given)
        assert torch.autograd.gradgradcheck(function, given)


def test_torchs_own_weight_norm_is_told_of_and_its_hessian_product_judged_by_the_formula():
    class Port(fnn.Module):
        @fnn.compact
        def __call__(self, x):
            v, g = self.param("weight_v", nn_init, (7, 5)), self.param("weight_g", nn_init, (5,))
            return x @ (g * v / jnp.linalg.norm(v, axis=0))

    nn_init = fnn.initializers.ones
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(7, 5, bias=False)))
    rules = [
        (r"0\.parametrizations\.weight\.original0", "weight_g", lambda g: g[:, 0]),
        (r"0\.parametrizations\.weight\.original1", "weight_v", "transpose"),
    ]
    x = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    bound = pair(torch=net.eval(), jax=Port(), loss="mean_square", batch=(x,), mapping=rules)
    report = bound.check(["value", "hvp"], dtypes=("float64",))
    assert report.ok, report.table()
    assert "wrong second derivative" in report.table()
    assert notes(nn.Linear(2, 2)) == []
    assert len(notes(nn.utils.weight_norm(nn.Linear(2, 2)))) == 1


def test_a_loss_is_judged_by_the_formulas_too():
    def theirs(out, target):
        return torch.nn.functional.hardsigmoid(out - target).square().mean()

    def ours(out, target):
        return jnp.square(jnp.clip(out - target + 3.0, 0.0, 6.0) / 6.0).mean()

    x = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    bound = pair(torch=nn.Linear(7, 5).eval(), jax=fnn.Dense(5), loss=(theirs, ours), batch=(x, x[:, :5]))
    report = bound.check(["value", "gradient", "hvp"], dtypes=("float64",))
    assert report.ok, report.table()

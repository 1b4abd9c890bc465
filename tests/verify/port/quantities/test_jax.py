"""One program gives what several give apart, or as much of it as a model allows."""

import flax.linen as nn
import jax
import numpy as np
import torch

from jaxgrad import verify
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.tracing import _record_jax


@jax.custom_jvp
def hidden(x):
    return x**2


@jax.custom_vjp
def slope(x):
    return 2 * x


slope.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))
hidden.defjvp(lambda x, t: (hidden(x[0]), slope(x[0]) * t[0]))


class Square(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x) ** 2


class Port(nn.Module):
    """Its derivative has no forward rule where it is ``hidden``."""

    square: str = ""

    @nn.compact
    def __call__(self, x):
        return (hidden if self.square == "hidden" else lambda y: y**2)(nn.Dense(2, name="fc")(x))


def sides(port):
    """Return the quantities of a pair by one program, those by several, and the pair."""
    torch.manual_seed(0)
    batch = np.random.default_rng(0).normal(size=(4, 3)), np.ones((4, 2))
    bound = verify.pair(torch=Square().eval(), jax=port, loss="mse", batch=batch).prepared
    return JaxQuantities(bound, "float64", product=True, record=True), JaxQuantities(bound, "float64"), bound


def same(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)


def test_one_program_gives_the_gradient_the_product_and_the_layers():
    with precision():
        one, apart, bound = sides(Port())
        same(one.get("basic"), apart.get("basic"))
        assert "product" in one.kept
        same(one.get("hvp"), apart.get("hvp"))
        seen = _record_jax.natural(one.recorded.seen, one.recorded.layers, one.recorded.value, one.recorded.output)
        alone = _record_jax.run(bound, _record_jax.outline(bound, "float64"), "float64")
        for field in ("outputs", "inputs", "cotangents"):
            same(getattr(seen, field), getattr(alone, field))
        assert apart.recorded is None


def test_a_model_without_a_forward_rule_has_its_product_in_reverse():
    with precision():
        one, apart, _ = sides(Port("hidden"))
        want = apart.get("basic"), apart.get("hvp")
        same((one.get("basic"), one.get("hvp")), want)
        assert "product" not in one.kept
        assert one.recorded is not None

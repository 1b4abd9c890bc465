"""`inr.combined_loss`: torch's sum, its gradient too; its parts; weights that are traced; what it refuses."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import combined_loss, gradient_loss, laplacian_loss, value_loss
from tests.bridge import assert_parity, to_torch
from tests.inr.fields import field, siren_jax, siren_torch, value_and_gradient

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

SHAPES = {"values": (7, 3), "gradients": (7, 3, 2), "laplacians": (7, 3)}
TARGETS = {name: jnp.asarray(np.random.default_rng(0).normal(size=shape)) for name, shape in SHAPES.items()}
WEIGHTS = {"value_weight": 2.0, "gradient_weight": 0.5, "laplacian_weight": 0.01}
ALONE = {"values": value_loss, "gradients": gradient_loss, "laplacians": laplacian_loss}


def test_value_and_gradient_match_torch():
    case = field()
    both = jax.jit(jax.value_and_grad(lambda p, x, w: combined_loss(siren_jax, p, x, **TARGETS, **w)))

    def loss(params):
        return torch_ref.inr.combined_loss(siren_torch, params, case.points_torch, **to_torch(TARGETS), **WEIGHTS)

    assert_parity(both(case.params, case.points, WEIGHTS), value_and_gradient(loss, case.params_torch))


def test_is_the_sum_of_what_is_given():
    case = field()
    parts = {
        name: weight * ALONE[name](siren_jax, case.params, case.points, TARGETS[name])
        for name, weight in zip(TARGETS, WEIGHTS.values(), strict=True)
    }
    for given in [names for size in (1, 2) for names in itertools.combinations(TARGETS, size)]:
        targets = {name: TARGETS[name] for name in given}
        got = combined_loss(siren_jax, case.params, case.points, **targets, **WEIGHTS)
        assert_parity(got, sum(parts[name] for name in given))


def test_weights_are_differentiated():
    case = field()

    def loss(weight):
        return combined_loss(siren_jax, case.params, case.points, values=TARGETS["values"], value_weight=weight)

    assert_parity(jax.grad(loss)(3.0), value_loss(siren_jax, case.params, case.points, TARGETS["values"]))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "nothing to fit: give values=, gradients= or laplacians="),
        ({"values": np.ones(7)}, ValueError, r"values: got float64\[7\], expected float64\[7,3\]"),
        ({"gradients": np.ones((7, 2, 3))}, ValueError, r"gradients: got float64\[7,2,3\], expected float64\[7,3,2\]"),
        ({**TARGETS, "value_weight": np.ones(3)}, ValueError, "value_weight must be one number"),
        ({**TARGETS, "laplacian_weight": True}, TypeError, "laplacian_weight must be a real number"),
    ],
)
def test_refuses(options, error, words):
    case = field()
    with pytest.raises(error, match=words):
        combined_loss(siren_jax, case.params, case.points, **options)

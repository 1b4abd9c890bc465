"""`multi_loss.weighted_gradient` against a sum of rows in torch, its weights in every form, and its cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import backwards, weighted_gradient
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROBLEM = heads()
WEIGHTS = [0.3, -2.0]


def named(params, x):
    first, second = outputs(params, x)
    return {"z": first, "a": second}


def scaled(params, x):
    """An array that is no stack of scalars."""
    return jnp.stack(outputs(params, x)) * jnp.ones(2)


@pytest.mark.parametrize(
    ("losses_fn", "weights"),
    [
        (outputs, jnp.array(WEIGHTS)),
        (outputs, tuple(WEIGHTS)),
        (named, {"z": 0.3, "a": -2.0}),
        (named, jnp.array(WEIGHTS[::-1])),
        (scaled, WEIGHTS),
    ],
)
def test_matches_torch(losses_fn, weights):
    want = torch_ref.multi_loss.weighted_gradient(outputs_torch, PROBLEM.params_torch, PROBLEM.x_torch, weights=WEIGHTS)
    assert_parity(weighted_gradient(losses_fn, PROBLEM.params, PROBLEM.x, weights=weights), want)


@pytest.mark.parametrize("weights", [(1e5, -3.0, 0.5), (1e-9, 3e-9, -2e-9), (0.0, 0.0, 0.0)])
def test_losses_of_float16_take_weights_that_float16_does_not_hold(weights):
    """Its largest number is 65504, and below 6e-8 there is none. A weight is rounded once, to the dtype of its loss."""
    dtypes = (jnp.float16, jnp.float64, jnp.bfloat16)

    def losses(w):
        values = (jnp.sum(w**2), jnp.sum(w), jnp.sum(jnp.sin(w)))
        return tuple(value.astype(dtype) for value, dtype in zip(values, dtypes, strict=True))

    w = jnp.array([0.5, -1.25, 2.0])
    terms = [weight * slope for weight, slope in zip(weights, (2 * w, jnp.ones(3), jnp.cos(w)), strict=True)]
    rounded = sum(jnp.abs(term) * float(jnp.finfo(dtype).eps) / 2 for term, dtype in zip(terms, dtypes, strict=True))
    for got in (weighted_gradient(losses, w, weights=weights), backwards(losses, w).weighted_gradient(weights)):
        # and the sums of three terms, here and there, each of which rounds twice
        assert np.all(jnp.abs(got - sum(terms)) <= rounded + 4 * jnp.finfo(jnp.float64).eps * sum(map(jnp.abs, terms)))


def test_is_differentiable_by_the_weights():
    """d/dw of the gradient (w_0 a + w_1 b)."""
    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])
    jacobian = jax.jacobian(lambda w: weighted_gradient(lambda p: (p @ a, p @ b), jnp.ones(2), weights=w))(jnp.ones(2))
    assert_parity(jacobian, jnp.stack([a, b], 1))


def test_costs_one_gradient(compiled_fully):
    problem = heads(6)

    def flops(fun):
        return jax.jit(fun).lower(problem.params, problem.x).compile().cost_analysis()["flops"]

    weighted = functools.partial(weighted_gradient, outputs, weights=jnp.arange(6.0))
    assert flops(weighted) <= 1.05 * flops(jax.grad(lambda p, x: sum(k * out for k, out in enumerate(outputs(p, x)))))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(3), ValueError, r"one number for each loss: an array of shape \(2,\).*got float64\[3\]"),
        (1.0, ValueError, r"got .*float64\[\]"),
        ({"a": 1.0, "b": 2.0}, ValueError, "got a tree"),
        ((1.0,), ValueError, "got a tree"),
        (np.ones(2, complex), TypeError, "weights must hold real numbers"),
    ],
)
def test_rejects_what_are_no_weights(weights, error, message):
    with pytest.raises(error, match=message):
        weighted_gradient(outputs, PROBLEM.params, PROBLEM.x, weights=weights)

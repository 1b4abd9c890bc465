"""Losses with rules that JAX cannot transpose over a batch, or that have no forward mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.per_example import empirical_fisher_product, random_projection, weighted_sum
from jaxgrad.per_example._random_projection import direction
from tests.bridge import assert_parity
from tests.per_example.losses import bent, held

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def branch(params, x):
    return bent(x @ params["w"])


def reverse(params, x):
    return jnp.sum(held(x * params["w"]))


PARAMS = {"w": jnp.array([1.0, -1.0])}
X = jnp.array([[2.0, 1.0], [1.0, 3.0], [0.5, 0.25]])


def rows_of(loss):
    return np.asarray(jax.vmap(jax.grad(loss), (None, 0))(PARAMS, X)["w"])


@pytest.mark.parametrize("loss", [branch, reverse])
def test_sums_and_products(loss):
    rows, weights = rows_of(loss), np.array([1.0, -2.0, 0.5])
    assert_parity(weighted_sum(loss, PARAMS, X, weights=weights), {"w": weights @ rows})
    vector = {"w": jnp.array([0.3, 2.0])}
    got = empirical_fisher_product(loss, PARAMS, vector, X)
    assert_parity(got, {"w": rows.T @ (rows @ np.asarray(vector["w"])) / 3})


@pytest.mark.parametrize("loss", [branch, reverse])
def test_projections(loss, key):
    signs = np.stack([direction(k, PARAMS)["w"] for k in jax.random.split(key, 4)])
    assert_parity(random_projection(loss, PARAMS, X, key=key, dim=4), rows_of(loss) @ signs.T / 2)

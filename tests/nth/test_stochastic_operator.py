"""`nth.stochastic_operator` with given probes against torch, its expectation, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.nth
from jaxgrad.nth import biharmonic, derivatives, laplacian, stochastic_operator
from tests.bridge import assert_parity, to_torch
from tests.nth.networks import draw, of_point, of_point_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize(("operator", "order"), [("laplacian", 2), ("biharmonic", 4), ("diagonal", 3)])
def test_matches_torch_on_the_same_probes(operator, order):
    params, x, params_torch, x_torch = draw((3, 6, 2), (3,))
    probes = np.random.default_rng(1).normal(size=(5, 3))
    got = stochastic_operator(of_point, x, params, operator=operator, order=order, probes=jnp.asarray(probes))
    want = torch_ref.nth.stochastic_operator(
        of_point_torch, x_torch, params_torch, operator=operator, order=order, probes=to_torch(probes)
    )
    assert_parity(got, want)


@pytest.mark.parametrize(("operator", "exact"), [("laplacian", laplacian), ("biharmonic", biharmonic)])
def test_is_unbiased(operator, exact, key):
    params, x, _, _ = draw((3, 6, 1), (3,))
    mean, error = stochastic_operator(of_point, x, params, operator=operator, key=key, num_samples=20_000)
    assert jnp.all(jnp.abs(mean - exact(of_point, x, params)) < 4 * error)


def test_the_diagonal_is_unbiased(key):
    x = jnp.array([0.3, -0.4, 0.9])
    mean, error = stochastic_operator(
        lambda z: jnp.sum(jnp.sin(z)) ** 2, x, operator="diagonal", order=4, key=key, num_samples=20_000
    )

    def along_axis(i):
        return derivatives(lambda t: jnp.sum(jnp.sin(x.at[i].set(t))) ** 2, x[i], 4)[4]

    assert jnp.abs(mean - sum(along_axis(i) for i in range(3))) < 4 * error


def test_the_standard_error_is_that_of_many_means():
    params, x, _, _ = draw((5, 6, 1), (5,))
    keys = jax.random.split(jax.random.key(1), 400)
    means, errors = jax.jit(jax.vmap(lambda k: stochastic_operator(of_point, x, params, key=k)))(keys)
    assert 0.8 < float(jnp.mean(errors)) / float(jnp.std(means)) < 1.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give probes=.* or key="),
        ({"probes": np.ones((2, 3)), "key": jax.random.key(0)}, "one of the two"),
        ({"probes": np.ones((2, 4))}, r"probes must have the shape \(num_samples, 3\); got \(2, 4\)"),
        ({"probes": np.ones((1, 3))}, "num_samples must be at least 2; got 1"),
        ({"operator": "diagonal", "order": 0, "key": jax.random.key(0)}, "order must be from 1 to 32; got 0"),
        ({"operator": "curl"}, "operator must be one of 'laplacian'"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        stochastic_operator(jnp.sum, jnp.ones(3), **options)


def test_takes_a_list_of_probes():
    probes = [[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]
    got = stochastic_operator(lambda x: jnp.sum(x) ** 2, jnp.ones(3), probes=probes)
    assert_parity(got[0], 10.0)


def test_of_integers_is_the_zero_of_jax():
    for part in stochastic_operator(lambda x: jnp.round(x).astype(int), jnp.ones(3), key=jax.random.key(0)):
        assert part.shape == (3,)
        assert part.dtype == jax.dtypes.float0

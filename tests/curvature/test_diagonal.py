"""`curvature.diagonal` on the same probes as torch, exactly where it is exact, its expectation, and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad.curvature import diagonal
from tests.bridge import assert_parity, to_torch
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM
from tests.curvature.test_trace import stack_like
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("method", ["hutchinson", "xdiag"])
def test_matches_torch_on_the_same_probes(method):
    probes = stack_like(PROBLEM.params, 6, signs=True)
    got = diagonal(HESSIAN, PROBLEM.params, *PROBLEM.data, probes=probes, method=method)
    estimate, error = torch_ref.curvature.diagonal(
        HESSIAN_TORCH, PROBLEM.params_torch, *PROBLEM.data_torch, probes=to_torch(probes), method=method
    )
    assert_parity((got.estimate, got.standard_error), (estimate, error), tolerance=1e-9)


@pytest.mark.parametrize("chunk", one_in(2, [1, 3, 8], 1))
def test_chunks_change_nothing_but_rounding(chunk):
    tree, matrix = draw([3.0, -1.0, 2.0, 0.5, 4.0, 1.0])
    given = functools.partial(diagonal, matrix_product, tree, matrix, key=jax.random.key(0), num_samples=8)
    assert_parity(given(chunk=chunk), given())


@pytest.mark.parametrize("method", ["hutchinson", "xdiag"])
def test_is_unbiased_and_the_standard_error_is_that_of_many_estimates(method):
    tree, matrix = draw([20.0, 10.0, *np.linspace(0.1, 1, 22)])

    @jax.jit
    @jax.vmap
    def many(key):
        found = diagonal(matrix_product, tree, matrix, key=key, num_samples=6, method=method)
        return tuple(ravel_pytree(part)[0] for part in found)

    estimates, errors, matrix = jax.device_get((*many(jax.random.split(jax.random.key(3), 1000)), matrix))
    spread = np.std(estimates, axis=0)
    apart = np.abs(np.mean(estimates, axis=0) - np.diag(matrix)) / (spread / 1000**0.5)
    assert np.max(apart) < 4.5
    ratio = np.sqrt(np.mean(errors**2)) / np.sqrt(np.mean(spread**2))
    # the samples of XDiag are not independent
    assert (0.65 if method == "xdiag" else 0.9) < ratio < 1.1


def test_a_diagonal_matrix_is_exact():
    tree, _ = draw([3.0, -1.0, 2.0, 0.5, 4.0, 1.0])
    flat = jnp.arange(6.0)
    got = diagonal(matrix_product, tree, jnp.diag(flat), key=jax.random.key(1), num_samples=2)
    assert_parity(ravel_pytree(got.estimate)[0], flat)
    assert ravel_pytree(got.standard_error)[0].tolist() == [0.0] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give probes=.* or key="),
        ({"key": jax.random.key(0), "num_samples": 1}, "num_samples must be at least 2; got 1"),
        ({"key": jax.random.key(0), "num_samples": 16, "method": "xdiag"}, "num_samples must be from 2 to 15; got 16"),
        ({"key": jax.random.key(0), "method": "xtrace"}, "method must be one of 'hutchinson', 'xdiag'"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        diagonal(HESSIAN, PROBLEM.params, *PROBLEM.data, **options)

"""`curvature.trace` on the same probes as torch, exactly on a whole basis, its expectation, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.curvature
from jaxgrad.curvature import dense_hessian, hvp, trace
from tests.bridge import assert_parity, to_jax, to_torch
from tests.curvature.matrices import draw, matrix_product
from tests.curvature.one_layer import HESSIAN, HESSIAN_TORCH, PROBLEM, bent_square
from tests.turns import one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def stack_like(params, count, seed=0, signs=False):
    """Draw probes, with the same numbers for both frameworks."""
    rng = np.random.default_rng(seed)
    drawn = jax.tree.map(lambda leaf: rng.normal(size=(count, *leaf.shape)), params)
    return to_jax(jax.tree.map(np.sign, drawn) if signs else drawn)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_matches_torch_on_the_same_probes(method):
    probes = stack_like(PROBLEM.params, 6)
    got = trace(HESSIAN, PROBLEM.params, *PROBLEM.data, probes=probes, method=method)
    estimate, error, per_leaf = torch_ref.curvature.trace(
        HESSIAN_TORCH, PROBLEM.params_torch, *PROBLEM.data_torch, probes=to_torch(probes), method=method
    )
    assert_parity(got[:2], (estimate, error), tolerance=1e-9)
    assert (got.per_leaf is None) == (method == "xtrace")
    if per_leaf is not None:
        assert_parity(got.per_leaf, per_leaf, tolerance=1e-9)
        assert_parity(sum(jax.tree.leaves(got.per_leaf)), estimate, tolerance=1e-9)


def test_a_whole_basis_is_exact_leaf_by_leaf():
    """Axes as long as the root of P have the identity as their mean square."""
    tree, matrix = draw([3.0, -1.0, 2.0, 0.5, 4.0, 1.0])
    axes = jnp.eye(6) * 6**0.5
    probes = {"a": axes[:, :2], "b": axes[:, 2:, None]}
    got = trace(matrix_product, tree, matrix, probes=probes)
    assert_parity(got.estimate, 9.5)
    assert_parity(got.per_leaf, {"a": jnp.trace(matrix[:2, :2]), "b": jnp.trace(matrix[2:, 2:])})


@pytest.mark.parametrize("chunk", one_in(4, [1, 3, 8, 100], 1))
def test_chunks_change_nothing_but_rounding(chunk):
    tree, matrix = draw([3.0, -1.0, 2.0, 0.5, 4.0, 1.0])
    for options in ({"key": jax.random.key(0), "num_samples": 8}, {"probes": stack_like(tree, 8)}):
        got = trace(matrix_product, tree, matrix, chunk=chunk, **options)
        assert_parity(got, trace(matrix_product, tree, matrix, **options))


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_is_unbiased_and_the_standard_error_is_that_of_many_estimates(method):
    tree, matrix = draw([20.0, 10.0, *np.linspace(0.1, 1, 22)])
    keys = jax.random.split(jax.random.key(3), 1000)

    @jax.jit
    @jax.vmap
    def many(key):
        return trace(matrix_product, tree, matrix, key=key, num_samples=8, method=method)

    found, matrix = jax.device_get((many(keys), matrix))
    spread = np.std(found.estimate)
    assert np.abs(np.mean(found.estimate) - np.trace(matrix)) < 4 * spread / 1000**0.5
    assert 0.8 < np.sqrt(np.mean(found.standard_error**2)) / spread < 1.4
    if method != "xtrace":
        for name, block in (("a", matrix[:2, :2]), ("b", matrix[2:, 2:])):
            leaf = found.per_leaf[name]
            assert np.abs(np.mean(leaf) - np.trace(block)) < 4 * np.std(leaf) / 1000**0.5
    if method != "hutchinson":
        plain = trace(matrix_product, tree, matrix, key=keys[0], num_samples=1000).standard_error * (1000 / 8) ** 0.5
        assert spread < plain / 2


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
def test_a_matrix_of_low_rank_is_exact(method):
    tree, matrix = draw([5.0, -3.0, *[0.0] * 14])
    got = trace(matrix_product, tree, matrix, key=jax.random.key(0), num_samples=6, method=method)
    np.testing.assert_allclose(got.estimate, 2.0, rtol=1e-6)


def test_is_differentiable():
    axes = jnp.eye(15) * 15**0.5
    leaves, structure = jax.tree.flatten(PROBLEM.params)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = [axes[:, end - leaf.size : end].reshape(15, *leaf.shape) for end, leaf in zip(ends, leaves, strict=True)]

    def estimated(params, probes):
        return trace(HESSIAN, params, *PROBLEM.data, probes=probes).estimate

    def exact(params):
        return jnp.trace(dense_hessian(bent_square, params, *PROBLEM.data))

    whole = jax.tree.unflatten(structure, parts)
    assert_parity(jax.jit(jax.grad(estimated))(PROBLEM.params, whole), jax.jit(jax.grad(exact))(PROBLEM.params))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give probes=.* or key="),
        ({"key": jax.random.key(0), "probes": stack_like(PROBLEM.params, 4)}, "one of the two"),
        ({"key": jax.random.key(0), "num_samples": 0}, "num_samples must be at least 2; got 0"),
        ({"key": jax.random.key(0), "num_samples": 3, "method": "hutch++"}, "num_samples must be at least 4; got 3"),
        ({"key": jax.random.key(0), "num_samples": 16, "method": "xtrace"}, "num_samples must be from 2 to 15; got 16"),
        ({"key": jax.random.key(0), "method": "exact"}, "method must be one of 'hutchinson'"),
        ({"key": jax.random.key(0), "chunk": 0}, "chunk must be at least 1; got 0"),
        ({"probes": stack_like({"w": np.ones(2)}, 4)}, r"one of probes\['layer0'\]\['bias'\]: got nothing"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        trace(HESSIAN, PROBLEM.params, *PROBLEM.data, **options)


def test_the_hessian_of_several_losses_does_not_crowd():
    """Public functions come from one line of code; that says nothing of a loop of the caller's."""
    losses = (
        lambda w: jnp.sum(w**2),
        lambda w: jnp.sum(w**3),
        lambda w: jnp.sum(w**4),
        lambda w: jnp.sum(w**5),
        lambda w: jnp.sum(w**6),
    )
    for loss in losses:
        trace(functools.partial(hvp, loss), jnp.ones(2), key=jax.random.key(0), num_samples=2)

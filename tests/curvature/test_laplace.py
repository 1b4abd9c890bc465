"""`curvature.log_evidence` and `curvature.predictive_covariance`: dense torch, and Bayesian linear regression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.curvature
from jaxgrad import _tree
from jaxgrad.curvature import kfac, log_evidence, predictive_covariance
from jaxgrad.verify._bridge import to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from tests.bridge import assert_parity, to_jax

RNG = np.random.default_rng(0)
PRIOR = {"prior_precision": 0.7, "num_examples": 5}
X, Y, W = to_jax((RNG.normal(size=(5, 3)), RNG.normal(size=(5, 1)), RNG.normal(size=(3, 1))))


def linear(w, x):
    return x @ w


@functools.cache
def of_a_line():
    return kfac(linear, W, X, Y, kind="exact", output_loss="squared_error")


def test_the_evidence_of_a_linear_model_is_exact(compiled_quickly):
    """That of Gaussian labels whose mean and slope are integrated out."""
    tau = PRIOR["prior_precision"]
    best = jnp.linalg.solve(X.T @ X + tau * jnp.eye(3), X.T @ Y)
    loss = 0.5 * jnp.mean(jnp.sum((X @ best - Y) ** 2, -1))
    covariance, y = np.eye(5) + np.asarray(X @ X.T) / tau, np.asarray(Y)[:, 0]
    want = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(covariance)[1]
    assert_parity(log_evidence(of_a_line(), best, loss, **PRIOR), want)


def test_the_variance_of_a_linear_model_is_exact(compiled_quickly):
    points = X[:2] + 1
    got = predictive_covariance(linear, W, of_a_line(), points, **PRIOR)
    posterior = np.linalg.inv(np.asarray(X.T @ X) + PRIOR["prior_precision"] * np.eye(3))
    want = np.einsum("bi,ij,bj->b", points, posterior, points)
    assert_parity(got, want[:, None, None])


def test_equals_dense_torch(compiled_quickly):
    params = mlp_params((3, 2, 2), 0)
    p, pt, points = to_jax(params), to_torch(params), X[:3]
    factors = kfac(mlp_jax, p, X, jnp.tile(Y, 2), kind="exact", output_loss="squared_error")
    flat, unravel = jax.flatten_util.ravel_pytree(p)
    columns = jax.jit(jax.vmap(lambda v: jax.flatten_util.ravel_pytree(factors.product(unravel(v)))[0]))
    # torch joins the leaves of a layer in the order of its dictionary
    in_order = {name: dict(sorted(layer.items())) for name, layer in sorted(pt.items())}
    dense = torch.as_tensor(np.array(columns(jnp.eye(flat.size))))
    evidence = log_evidence(factors, p, 0.3, **PRIOR)
    assert_parity(evidence, torch_ref.curvature.log_evidence(dense, in_order, 0.3, **PRIOR))
    want = torch_ref.curvature.predictive_covariance(mlp_torch, in_order, dense, to_torch(np.array(points)), **PRIOR)
    eigen = factors.eigen()
    assert_parity(predictive_covariance(mlp_jax, p, eigen, points, **PRIOR), want)
    assert_parity(predictive_covariance(mlp_jax, p, eigen, points, chunk=2, **PRIOR), want)


def test_leaves_that_do_not_count_are_known(compiled_quickly):
    params = to_jax(mlp_params((3, 2, 2), 0))
    part = kfac(mlp_jax, params, X, jnp.tile(Y, 2), kind="exact", output_loss="squared_error", wrt="layer1/weight")
    last = params["layer1"]["weight"]
    half = params["layer0"]
    got = log_evidence(part, params, 0.0, **PRIOR)
    tau, count = PRIOR["prior_precision"], PRIOR["num_examples"]
    occam = part.log_determinant(tau / count) - last.size * jnp.log(tau / count)
    assert_parity(got, -tau / 2 * _tree.dot(last, last) - occam / 2)
    moved = {"layer0": jax.tree.map(lambda leaf: 2 * leaf, half), "layer1": params["layer1"]}
    assert_parity(log_evidence(part, moved, 0.0, **PRIOR), got)


def test_refusals():
    with pytest.raises(TypeError, match="curved must be a curvature with log_determinant"):
        log_evidence(jnp.eye(3), W, 0.0, **PRIOR)
    with pytest.raises(TypeError, match="curved must be a curvature with inverse_square_root"):
        predictive_covariance(linear, W, jnp.eye(3), X, **PRIOR)
    with pytest.raises(ValueError, match="prior_precision must not be negative"):
        log_evidence(of_a_line(), W, 0.0, prior_precision=-1.0, num_examples=5)
    with pytest.raises(
        ValueError, match=r"params of the factors:\n  params: got float64\[2,1\], expected float64\[3,1\]"
    ):
        log_evidence(of_a_line(), W[:2], 0.0, **PRIOR)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        predictive_covariance(linear, W, of_a_line(), X, chunk=0, **PRIOR)


@pytest.mark.parametrize("name", ["prior_precision", "num_examples"])
@pytest.mark.parametrize("zero", [0, np.float32(0)])
def test_refuses_zero(name, zero):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        log_evidence(of_a_line(), W, 0.0, **PRIOR | {name: zero})
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        predictive_covariance(linear, W, of_a_line(), X, **PRIOR | {name: zero})

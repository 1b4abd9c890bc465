"""`curvature.over_batches` against torch, and what its check finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.curvature
from jaxgrad.curvature import hvp, over_batches, weighted_loss
from tests.bridge import assert_parity, to_torch
from tests.curvature.data_set import HESSIAN, PARAMS, PROBLEM, VECTOR, X, Y, batches_of
from tests.problems import mean_square, mean_square_torch


def test_matches_torch(compiled_quickly):
    product = functools.partial(torch_ref.curvature.hvp, torch_ref.curvature.weighted_loss(mean_square_torch))
    loader = batches_of(4, *PROBLEM.data_torch)
    want = torch_ref.curvature.over_batches(product, PROBLEM.params_torch, to_torch(VECTOR), loader)
    assert_parity(over_batches(HESSIAN, PARAMS, VECTOR, batches_of(4, X, Y)), want)


CALLS = [0]


def reads_the_host(params, x, y):
    """A loss that is another at every call."""

    def count(value):
        CALLS[0] += 1
        return np.asarray(value * CALLS[0])

    factor = jax.pure_callback(
        count, jax.ShapeDtypeStruct((), x.dtype), jnp.ones((), x.dtype), vmap_method="sequential"
    )
    return jax.lax.stop_gradient(factor) * mean_square(params, x, y)


def batch_norm(params, x, y, weights):
    h = x @ params["layer0"]["weight"].T
    h = (h - h.mean(0)[None]) / jnp.sqrt(h.var(0) + 1e-3)[None]
    return jnp.sum(weights.astype(h.dtype) * jnp.mean(jnp.tanh(h) ** 2, -1))


def test_the_check_finds_what_two_products_show(compiled_quickly):
    loader = batches_of(4, X, Y)
    assert_parity(
        over_batches(HESSIAN, PARAMS, VECTOR, loader, check=True), over_batches(HESSIAN, PARAMS, VECTOR, loader)
    )
    host = functools.partial(hvp, weighted_loss(reads_the_host))
    with pytest.raises(ValueError, match=r"two products of the same batch differ.*no pure function"):
        over_batches(host, PARAMS, VECTOR, loader, check=True)
    with pytest.raises(ValueError, match=r"sum of those of its halves differ.*BatchNorm in training mode"):
        over_batches(functools.partial(hvp, batch_norm), PARAMS, VECTOR, loader, check=True)


def test_the_check_says_which_batch_is_not_finite(compiled_quickly):
    for number, place in ((0, 1), (1, 5)):
        bad = np.array(X)
        bad[place, 0] = np.nan
        with pytest.raises(ValueError, match=rf"product of batch {number} .* not finite.* is in batch\[0\]$"):
            over_batches(HESSIAN, PARAMS, VECTOR, batches_of(4, bad, Y), check=True)
    root = functools.partial(hvp, weighted_loss(lambda w, x: jnp.sqrt(w * x)))
    with pytest.raises(ValueError, match="all that it is given is finite: the loss, or a derivative, is not"):
        over_batches(root, 0.0 * X[0, 0], X[0, 0], [(X[:, 0] ** 2,)], check=True)


def test_refuses_what_is_no_batch_and_nothing():
    with pytest.raises(TypeError, match="batches must give tuples"):
        over_batches(HESSIAN, PARAMS, VECTOR, [X])
    with pytest.raises(ValueError, match="batches holds no batch"):
        over_batches(HESSIAN, PARAMS, VECTOR, iter([]))

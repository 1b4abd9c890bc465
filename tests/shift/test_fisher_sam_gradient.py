"""`shift.fisher_sam_gradient` against torch, on a quadratic, and at the limits of its metric."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import per_example
from jaxgrad.shift import fisher_sam_gradient, sam_gradient
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def quadratic(w, H):
    return w @ H @ w / 2


H, W, F = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, -1.0]), jnp.array([0.5, 4.0])


def test_matches_torch():
    problem = regression()
    fisher = jax.tree.map(jnp.square, random_like(problem.params, 1))
    got = fisher_sam_gradient(mean_square, problem.params, fisher, *problem.data, radius=0.5, strength=2.0)
    want = torch_ref.shift.fisher_sam_gradient(
        mean_square_torch, problem.params_torch, to_torch(fisher), *problem.data_torch, radius=0.5, strength=2.0
    )
    assert_parity(got, want)


def test_closed_form_of_a_quadratic():
    """H (w + r M^-1 g / sqrt(g M^-1 g)); without strength it is SAM."""
    g, M = H @ W, 1 + 2.0 * F
    got = fisher_sam_gradient(quadratic, W, F, H, radius=0.3, strength=2.0)
    assert_parity(got, H @ (W + 0.3 * g / M / jnp.sqrt(jnp.sum(g**2 / M))))
    plain = fisher_sam_gradient(quadratic, W, F, H, radius=0.3, strength=0.0)
    assert_parity(plain, sam_gradient(quadratic, W, H, radius=0.3))


def test_takes_the_second_moments_of_the_gradients_of_examples():
    """At (0, 1) of the mean of (w . x)^2 / 2 the gradients of the examples are (0, 0) and (0, 1)."""
    points = jnp.array([[2.0, 0.0], [0.0, 1.0]])

    def loss_of_one(w, x):
        return (w @ x) ** 2 / 2

    w = jnp.array([0.0, 1.0])
    fisher = per_example.moments(loss_of_one, w, points).second_moment
    got = fisher_sam_gradient(lambda w, x: jnp.mean((x @ w) ** 2) / 2, w, fisher, points, radius=0.6)
    assert_parity(got, jnp.array([0.0, (1 + 0.6 / jnp.sqrt(1.5)) / 2]))


def test_a_zero_gradient_gives_zero_and_wrt_holds():
    assert_parity(fisher_sam_gradient(quadratic, 0 * W, F, H, radius=0.3), jnp.zeros(2))
    tree = {"a": jnp.array(1.0), "b": jnp.array(2.0)}
    got = fisher_sam_gradient(lambda p: p["a"] ** 2 * p["b"], tree, tree, radius=0.5, wrt="a")
    assert_parity(got, {"a": jnp.array(4 * (1 + 0.5 / jnp.sqrt(2.0))), "b": jnp.array(0.0)})


def test_rejects_what_is_no_diagonal():
    with pytest.raises(ValueError, match=r"fisher: got float64\[3\], expected float64\[2\]"):
        fisher_sam_gradient(quadratic, W, jnp.ones(3), H, radius=0.1)
    with pytest.raises(ValueError, match="strength must not be negative or NaN; got -1"):
        fisher_sam_gradient(quadratic, W, F, H, radius=0.1, strength=-1.0)

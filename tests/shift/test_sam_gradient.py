"""`shift.sam_gradient` against torch, on a quadratic, at a zero gradient, and at magnitudes that overflow."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import gradient, sam_gradient, value_and_sam_gradient
from tests.bridge import assert_parity, random_like
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("adaptive", [False, True])
def test_matches_torch(adaptive):
    problem = regression()
    got = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=adaptive)
    want = torch_ref.shift.sam_gradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, radius=0.5, adaptive=adaptive
    )
    assert_parity(got, want)


@pytest.mark.parametrize("adaptive", [False, True])
def test_value_and_gradient_match_torch(adaptive):
    problem = regression()
    got = value_and_sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=adaptive)
    want = torch_ref.shift.value_and_sam_gradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, radius=0.5, adaptive=adaptive
    )
    assert_parity(got, want)


def quadratic(w, H):
    return w @ H @ w / 2


H, W = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, -1.0])


def test_closed_form_of_a_quadratic():
    """H (w + r g / |g|) with g = H w; for ASAM, H (w + r T^2 g / |T g|)."""
    g, T = H @ W, jnp.abs(W) + 0.1
    assert_parity(sam_gradient(quadratic, W, H, radius=0.3), H @ (W + 0.3 * g / jnp.linalg.norm(g)))
    got = sam_gradient(quadratic, W, H, radius=0.3, adaptive=True, offset=0.1)
    assert_parity(got, H @ (W + 0.3 * T**2 * g / jnp.linalg.norm(T * g)))


def test_the_value_is_that_of_the_weights_as_they_are():
    """w . H w / 2 at w, not at the worst point; its derivative is the plain gradient."""
    value, slope = value_and_sam_gradient(quadratic, W, H, radius=0.3)
    assert_parity(value, W @ H @ W / 2)
    assert_parity(slope, sam_gradient(quadratic, W, H, radius=0.3), tolerance=0.0)
    assert_parity(jax.grad(lambda w: value_and_sam_gradient(quadratic, w, H, radius=0.3)[0])(W), H @ W)


def test_asam_does_not_see_a_rescaling_of_the_weights():
    """With offset 0, the loss at the worst point is the same for w -> c w with the loss of w / c."""
    problem = regression()

    def rescaled(params, x, y):
        return mean_square(_tree.scale(params, 0.25), x, y)

    got = sam_gradient(rescaled, _tree.scale(problem.params, 4.0), *problem.data, radius=0.5, adaptive=True, offset=0.0)
    want = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=True, offset=0.0)
    assert_parity(_tree.scale(got, 4.0), want)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_zero_gradient_gives_the_plain_gradient(adaptive):
    """At a stationary point there is no direction: 0, and never NaN, under a second derivative too."""

    def slope(w):
        return sam_gradient(lambda w: jnp.sum(w**2 * jnp.array([1.0, -3.0])), w, radius=0.1, adaptive=adaptive)

    assert_parity(slope(jnp.zeros(2)), jnp.zeros(2))
    assert_parity(jax.jacobian(slope)(jnp.zeros(2)), jnp.diag(jnp.array([2.0, -6.0])))


def test_a_radius_of_zero_is_the_plain_gradient():
    problem = regression()
    plain = jax.jit(jax.grad(mean_square))(problem.params, *problem.data)
    assert_parity(sam_gradient(mean_square, problem.params, *problem.data, radius=0), plain)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_direction_survives_squares_that_overflow(size):
    def loss(w):
        return jnp.sum(w**2) * jnp.float32(size)

    got = sam_gradient(loss, jnp.array([3.0, 4.0], jnp.float32), radius=5.0)
    assert_parity(got / jnp.float32(size), jnp.array([12.0, 16.0]), tolerance=1e-6)


def pushed(fun, params, vector):
    return jax.jit(lambda p, v: jax.jvp(fun, (p,), (v,))[1])(params, vector)


def test_the_shift_is_a_constant_for_differentiation():
    problem = regression()
    vector = random_like(problem.params, 1)
    plain = jax.jit(jax.grad(mean_square))(problem.params, *problem.data)
    shift = _tree.scale(plain, 0.5 / _tree.norm(plain))
    got = pushed(lambda p: sam_gradient(mean_square, p, *problem.data, radius=0.5), problem.params, vector)
    want = pushed(lambda p: gradient(mean_square, p, shift, *problem.data), problem.params, vector)
    assert_parity(got, want)


def test_is_differentiable_in_the_radius():
    """d/dr H (w + r u) = H u."""
    g = H @ W
    slope = jax.jacobian(lambda r: sam_gradient(quadratic, W, H, radius=r))(0.3)
    assert_parity(slope, H @ g / jnp.linalg.norm(g))


def test_wrt_moves_and_differentiates_the_chosen_leaves():
    problem = regression()
    got = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, wrt="layer1")
    held = {name: layer for name, layer in problem.params.items() if name != "layer1"}
    inner = {"layer1": problem.params["layer1"]}
    want = sam_gradient(lambda p, *data: mean_square({**held, **p}, *data), inner, *problem.data, radius=0.5)
    assert_parity(got["layer1"], want["layer1"])
    assert not got["layer0"]["weight"].any()


def test_nan_is_not_hidden():
    assert jnp.isnan(sam_gradient(lambda w: jnp.sum(jnp.log(w)), jnp.array([-jnp.nan, 1.0]), radius=0.1)).any()


def test_rejects_a_negative_radius():
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got -1"):
        sam_gradient(quadratic, W, H, radius=-1.0)
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got nan"):
        sam_gradient(quadratic, W, H, radius=float("nan"))
    with pytest.raises(ValueError, match=r"radius must be one number.*float64\[2\]"):
        sam_gradient(quadratic, W, H, radius=jnp.ones(2))

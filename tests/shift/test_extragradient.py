"""`shift.extragradient` against torch, on a quadratic, and where plain descent diverges."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad.shift import extragradient, value_and_extragradient
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    problem = regression()
    got = extragradient(mean_square, problem.params, *problem.data, learning_rate=0.1)
    want = torch_ref.shift.extragradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, learning_rate=0.1
    )
    assert_parity(got, want)


def test_value_and_gradient_match_torch():
    problem = regression()
    got = value_and_extragradient(mean_square, problem.params, *problem.data, learning_rate=0.1)
    want = torch_ref.shift.value_and_extragradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, learning_rate=0.1
    )
    assert_parity(got, want)


def test_closed_form_of_a_quadratic():
    """H (w - r H w) for the loss w . H w / 2."""
    H, w = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, -1.0])
    got = extragradient(lambda w, H: w @ H @ w / 2, w, H, learning_rate=0.1)
    assert_parity(got, H @ (w - 0.1 * H @ w))
    got = value_and_extragradient(lambda w, H: w @ H @ w / 2, w, H, learning_rate=0.1)
    assert_parity(got, (w @ H @ w / 2, H @ (w - 0.1 * H @ w)))


def test_no_step_is_the_plain_gradient():
    problem = regression()
    got = extragradient(mean_square, problem.params, *problem.data, learning_rate=0.0)
    assert_parity(got, jax.jit(jax.grad(mean_square))(problem.params, *problem.data))


def test_the_aux_of_either_pass():
    for state, at in (("clean", 4.0), ("moved", 3.0)):
        options = {"learning_rate": 0.25, "has_aux": True, "state": state}
        assert_parity(
            extragradient(lambda w: (w**2 / 2, w), jnp.array(4.0), **options), (jnp.array(3.0), jnp.array(at))
        )


def test_16_bits_are_moved_in_float32():
    """A step of 2^-13 at 1, below the spacing; what is left of 1 is magnified."""

    def loss(w):
        return jnp.sum((w - 1) ** 2) * w.dtype.type(2.0**10) - jnp.sum(w)

    got = extragradient(loss, jnp.ones(4, jnp.bfloat16), learning_rate=2.0**-13)
    assert got.dtype == jnp.bfloat16
    assert_parity(got, jnp.full(4, 2.0**-2 - 1, jnp.bfloat16))


def test_is_differentiable_in_the_rate():
    """d/dr (w - r w) = -w."""
    slope = jax.grad(lambda r: extragradient(lambda w: w**2 / 2, jnp.array(3.0), learning_rate=r))(0.25)
    assert_parity(slope, jnp.array(-3.0))


def test_wrt_moves_only_what_it_selects():
    got = extragradient(
        lambda p: (p["a"] * p["b"]) ** 2 / 2, {"a": jnp.array(1.0), "b": jnp.array(2.0)}, learning_rate=0.1, wrt="a"
    )
    assert_parity(got, {"a": jnp.array(2.4), "b": jnp.array(0.0)})


def test_rejects_a_negative_rate_and_one_with_axes():
    with pytest.raises(ValueError, match="learning_rate must not be negative or NaN; got -1"):
        extragradient(jnp.sum, jnp.ones(2), learning_rate=-1.0)
    with pytest.raises(ValueError, match=r"learning_rate must be one number.*float64\[2\]"):
        extragradient(jnp.sum, jnp.ones(2), learning_rate=jnp.ones(2))

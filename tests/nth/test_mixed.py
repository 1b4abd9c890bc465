"""`nth.mixed_partial` against nested autograd, closed forms, its symmetry, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.nth
from jaxgrad.nth import all_mixed, mixed_partial
from tests.bridge import assert_parity
from tests.nth.networks import draw, of_point, of_point_torch
from tests.turns import covering, one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("orders", one_in(2, [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 0, 1), (1, 2, 1)]))
def test_mixed_partial_matches_torch(orders):
    params, x, params_torch, x_torch = draw((3, 5, 2), (3,))
    want = torch_ref.nth.mixed_partial(of_point_torch, x_torch, orders, params_torch)
    assert_parity(mixed_partial(of_point, x, orders, params), want)


def test_mixed_partial_of_a_polynomial_is_exact():
    def polynomial(x):
        return x[0] ** 2 * x[1] ** 3

    x = jnp.array([2.0, 5.0])
    assert mixed_partial(polynomial, x, (2, 3)).item() == 12.0
    assert mixed_partial(polynomial, x, (3, 1)).item() == 0.0


def test_mixed_partial_does_not_depend_on_the_order_of_the_variables():
    params, x, _, _ = draw((3, 5, 2), (3,))
    flipped = mixed_partial(lambda z, p: of_point(z[::-1], p), x[::-1], (1, 0, 3), params)
    assert_parity(mixed_partial(of_point, x, (3, 0, 1), params), flipped)


@pytest.mark.parametrize(
    ("x", "orders", "message"),
    [
        (np.ones(2), (1, 0, 0), "orders must have one entry for each of the 2 entries of x; got 3"),
        (np.ones(2), (1, -1), r"orders\[1\] must be from 0 to 32; got -1"),
        (np.ones(2), (20, 20), "the sum of orders must be from 0 to 32; got 40"),
        (np.ones((2, 2)), (1, 1), "x must be a vector, one point; .* with jax.vmap"),
    ],
)
def test_mixed_partial_rejects(x, orders, message):
    with pytest.raises(ValueError, match=message):
        mixed_partial(jnp.sum, x, orders)


@pytest.mark.parametrize("order", one_in(3, [0, 1, 2, 3]))
def test_all_mixed_matches_torch(order):
    params, x, params_torch, x_torch = draw((3, 5, 2), (3,))
    want = torch_ref.nth.all_mixed(of_point_torch, x_torch, order, params_torch)
    assert_parity(all_mixed(of_point, x, order, params), want)


def test_all_mixed_is_symmetric_and_holds_the_single_ones():
    params, x, _, _ = draw((2, 5, 1), (2,))
    tensor = all_mixed(of_point, x, 4, params)
    assert_parity(tensor, jnp.transpose(tensor, (3, 1, 0, 2, 4)))
    assert_parity(tensor[0, 0, 1, 0], mixed_partial(of_point, x, (3, 1), params))


@pytest.mark.parametrize(("slope", "order"), covering([1.0, 300.0], [2, 5, 7]))
def test_every_entry_is_right_in_float32(order, slope):
    """A variable in other units makes entries of every size; none may spoil another."""

    def wave(x):
        return jnp.exp(x[0] * slope) * jnp.sin(x[1])

    x = np.array([0.3 / slope, 0.7], np.float32)
    got = np.asarray(all_mixed(wave, x, order))
    for i in range(order + 1):
        want = slope**i * np.exp(slope * float(x[0])) * np.sin(float(x[1]) + (order - i) * np.pi / 2)
        assert got[(0,) * i + (1,) * (order - i)] == pytest.approx(want, rel=2e-6), i


def test_all_mixed_in_three_variables_holds_the_single_ones():
    params, x, _, _ = draw((3, 4, 2), (3,))
    tensor = jax.jit(lambda z, p: all_mixed(of_point, z, 4, p))(x, params)
    assert_parity(tensor[2, 0, 1, 2], mixed_partial(of_point, x, (1, 1, 2), params))
    assert_parity(tensor[1, 2, 1, 2], mixed_partial(of_point, x, (0, 2, 2), params))
    assert_parity(tensor, jnp.transpose(tensor, (1, 3, 0, 2, 4)))


def test_all_mixed_rejects_too_many_directions():
    with pytest.raises(ValueError, match=r"there are 2220075 partials of order 8 in 20 .*nth\.mixed_partial"):
        all_mixed(jnp.sum, jnp.ones(20), 8)


def test_all_mixed_rejects_an_order_above_its_cap():
    with pytest.raises(ValueError, match=r"order must be from 0 to 32; got 33\. The factorial of 35 overflows float32"):
        all_mixed(jnp.sum, jnp.ones(1), 33)


def test_rejects_what_is_no_sequence_and_no_integer():
    with pytest.raises(TypeError, match="orders must be a sequence, one order for each of the 2 entries of x; got 2"):
        mixed_partial(jnp.sum, jnp.ones(2), 2)
    with pytest.raises(TypeError, match=r"max_order must be a Python integer .* got 2\.5"):
        mixed_partial(jnp.sum, jnp.ones(2), (1, 1), max_order=2.5)


def test_all_mixed_of_integers_is_the_zero_of_jax():
    tensor = all_mixed(lambda x: jnp.round(x).astype(int), jnp.ones(3), 2)
    assert tensor.shape == (3, 3, 3)
    assert tensor.dtype == jax.dtypes.float0


def test_all_mixed_rejects_an_empty_point():
    with pytest.raises(ValueError, match="x must have an entry; got a vector of length 0"):
        all_mixed(jnp.sum, jnp.ones(0), 2)

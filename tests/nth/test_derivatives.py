"""`nth.derivatives` and `nth.derivative` against nested autograd, closed forms, their laws, and what they refuse."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import torch_ref.nth
from jaxgrad.nth import derivative, derivatives
from tests.bridge import assert_parity
from tests.nth.networks import draw, of_numbers, of_numbers_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def cubic(x):
    return 2 * x**3


def test_matches_torch_on_a_network():
    params, x, params_torch, x_torch = draw((1, 6, 5, 1), (9,))
    got = derivatives(of_numbers, x, 6, params)
    assert_parity(got, torch_ref.nth.derivatives(of_numbers_torch, x_torch, 6, params_torch))
    want = torch_ref.nth.derivative(of_numbers_torch, x_torch, 3, params_torch)
    assert_parity(derivative(of_numbers, x, 3, params), want)


def test_of_the_cubic_are_exact():
    got = derivatives(cubic, jnp.array(-2.0), 8)
    assert got.tolist() == [-16.0, 24.0, -24.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_order_zero_is_the_value():
    assert derivatives(jnp.sin, jnp.array(0.5), 0).tolist() == [jnp.sin(0.5)]
    assert_parity(derivative(jnp.sin, jnp.array(0.5), 0), jnp.sin(0.5))


def test_each_order_is_the_derivative_of_the_one_below():
    params, x, _, _ = draw((1, 6, 1), ())
    slope = jax.jit(jax.grad(lambda z: derivative(of_numbers, z, 3, params)))(x)
    assert_parity(slope, derivative(of_numbers, x, 4, params))


def test_vmap_of_a_scalar_is_the_elementwise_array():
    params, x, _, _ = draw((1, 6, 1), (5,))
    mapped = jax.jit(jax.vmap(lambda z: derivatives(of_numbers, z, 4, params), out_axes=1))(x)
    assert_parity(derivatives(of_numbers, x, 4, params), mapped)


def test_trees_and_vectors_of_a_scalar():
    got = derivatives(lambda x: {"a": jnp.stack([x, x**2]), "b": x**3}, jnp.array(2.0), 2)
    assert_parity(got, {"a": jnp.array([[2.0, 4.0], [1.0, 4.0], [0.0, 2.0]]), "b": jnp.array([8.0, 12.0, 12.0])})


def test_of_an_integer_output_are_zero():
    got = derivatives(lambda x: jnp.floor(3 * x).astype(jnp.int32), jnp.array(1.5), 2)
    assert got.dtype == jnp.int32
    assert got.tolist() == [4, 0, 0]
    assert derivative(lambda x: (3 * x).astype(jnp.int32), jnp.array(1.5), 2).dtype == jax.dtypes.float0


@pytest.mark.parametrize(
    ("x", "order", "error", "message"),
    [
        (1.0, -1, ValueError, "order must be from 0 to 32; got -1"),
        (1.0, 33, ValueError, "Raise the cap with max_order="),
        (1.0, 2.0, TypeError, "order must be a Python integer .* got 2.0"),
        (1.0, np.array(2), TypeError, "order must be known when the function is traced"),
        (1, 2, TypeError, r"(?s)x moves, .* write 1.0 in place of 1.*x: got int64\[\]"),
        ({"a": 1.0}, 2, TypeError, "x must be one array; got a dict: nth.directional"),
    ],
)
def test_rejects(x, order, error, message):
    x = jnp.asarray(x) if not isinstance(x, dict) else x
    with pytest.raises(error, match=message):
        derivatives(cubic, x, order)


def test_rejects_a_traced_order():
    with pytest.raises(TypeError, match="order must be known when the function is traced"):
        jax.jit(lambda n: derivative(cubic, jnp.array(1.0), n))(2)


def test_rejects_an_array_for_a_function_that_is_not_elementwise():
    with pytest.raises(ValueError, match=r"elementwise fun.*map a scalar x with jax.vmap"):
        derivatives(jnp.sum, jnp.ones(3), 2)


HOLOMORPHIC = {
    "exp": (jnp.exp, mpmath.exp),
    "log": (jnp.log, mpmath.log),
    "tan": (jnp.tan, mpmath.tan),
    "power": (lambda z: z**2.5, lambda z: z ** mpmath.mpf("2.5")),
    "moving exponent": (lambda z: z**z, lambda z: z**z),
    "quotient": (lambda z: z**3 / (1 + z), lambda z: z**3 / (1 + z)),
    "arcsin": (jnp.arcsin, mpmath.asin),
    "loop": (
        lambda z: jax.lax.fori_loop(0, 2, lambda i, c: c * jnp.sin(c), z),
        lambda z: z * mpmath.sin(z) * mpmath.sin(z * mpmath.sin(z)),
    ),
}


@pytest.mark.parametrize("name", one_in(2, HOLOMORPHIC, 1))
def test_of_a_holomorphic_function_is_the_complex_derivative(name):
    fun, same = HOLOMORPHIC[name]
    points = np.array([0.7 + 0.4j, -0.3 + 0.2j])
    got = derivatives(fun, points, 5)
    with mpmath.workdps(40):
        want = [[complex(mpmath.diff(same, mpmath.mpc(z), k)) for z in points] for k in range(6)]
    assert_parity(got, np.array(want))
    assert_parity(derivative(fun, points[0], 5), got[5, 0])


def test_of_a_conjugate_is_the_derivative_along_the_real_axis():
    assert derivatives(lambda z: jnp.conj(z) * z, 2.0 + 1j, 2).tolist() == [5.0, 4.0, 2.0]


def test_refuses_a_real_output_of_a_complex_point():
    with pytest.raises(TypeError, match="fun is not holomorphic: x is complex and output real"):
        derivatives(jnp.abs, 1.0 + 1j, 1)


def test_refuses_a_function_in_the_data():
    with pytest.raises(TypeError, match=r"derivatives: data\[0\] is a function, not an array"):
        derivatives(lambda x, g: g(x), jnp.array(1.0), 1, jnp.tanh)

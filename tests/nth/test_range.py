"""High orders in narrow dtypes: coefficients stay in range, or the order is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.nth import derivative, derivatives, directional, jet, mixed_partial, ode_series, taylor_coefficients
from tests.turns import covering, one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SINE = np.array([np.sin(0.5), np.cos(0.5), -np.sin(0.5), -np.cos(0.5)])


@pytest.mark.parametrize(
    "of", one_in(2, [(jnp.float16, 12), (jnp.float16, 13), (jnp.bfloat16, 12), (jnp.bfloat16, 32)], 1)
)
def test_sines_in_16_bits(of):
    dtype, order = of
    eps, want = float(jnp.finfo(dtype).eps), np.resize(SINE, order + 1)
    x = jnp.asarray(0.5, dtype)
    rows = derivatives(jnp.sin, x, order)
    assert rows.dtype == dtype
    np.testing.assert_allclose(np.asarray(rows, np.float64), want, rtol=order * eps)
    for got in (derivative(jnp.sin, x, order), directional(jnp.sin, x, jnp.ones_like(x), order)):
        assert abs(float(got) - want[-1]) <= order * eps * abs(want[-1])
    series = jet(jnp.sin, (x,), ([jnp.ones_like(x), *[None] * (order - 1)],))[1]
    np.testing.assert_allclose(np.asarray(jnp.stack(series), np.float64), want[1:], rtol=order * eps)


def test_float16_beyond_its_range_is_refused():
    with pytest.raises(
        ValueError, match=r"float16 holds Taylor coefficients up to order 13; got 14: cast x to float32"
    ):
        derivatives(jnp.sin, jnp.float16(0.5), 14)


def test_a_derivative_outside_of_the_dtype_is_infinite():
    got = derivatives(lambda x: jnp.exp(4 * x), jnp.float16(1.0), 9)
    assert jnp.isinf(got[7:]).all()
    # the fourth, 3494, is within the factor that may count as infinite
    np.testing.assert_allclose(np.asarray(got[:3], np.float64), np.exp(4) * 4.0 ** np.arange(3), rtol=1e-2)


@pytest.mark.parametrize(("slope", "order"), covering([0.05, 1.0, 9.0], [12, 18, 24]))
def test_small_and_large_derivatives_in_float32(slope, order):
    got = derivative(lambda x: jnp.cos(slope * x), jnp.float32(0.0), order)
    assert abs(float(got) / ((-1) ** (order // 2) * slope**order) - 1) < 1e-4


def test_coefficients_are_those_of_the_direction_itself():
    x = jnp.float32(0.0)
    got = taylor_coefficients(jnp.exp, x, jnp.ones_like(x), 16)
    np.testing.assert_allclose(got, [float(1 / np.prod(np.arange(1.0, k + 1))) for k in range(17)], rtol=1e-5)


def falling(x, rate):
    return -rate * x


def test_an_ode_in_16_bits_and_a_slow_one_in_float32():
    # a coefficient alone, 1 / 13! or rate^24 / 24!, is out of range where its derivative is not
    for dtype, tolerance in ((jnp.float16, 2e-2), (jnp.bfloat16, 1e-1)):
        got = ode_series(falling, jnp.ones((), dtype), 13, jnp.ones((), dtype))
        np.testing.assert_allclose(np.asarray(got, float), (-1.0) ** np.arange(14), rtol=tolerance)
    slow = ode_series(falling, jnp.float32(1), 24, jnp.float32(0.05))
    np.testing.assert_allclose(np.asarray(slow, float), (-0.05) ** np.arange(25.0), rtol=1e-5)
    with pytest.raises(ValueError, match="float16 holds Taylor coefficients up to order 13; got 14"):
        ode_series(falling, jnp.float16(1), 14, jnp.float16(1))
    scaled = ode_series(falling, jnp.float32(1), 28, jnp.float32(3), factorial_scaled=False)
    np.testing.assert_allclose(scaled[20], 3.0**20 / float(np.prod(np.arange(1.0, 21.0))), rtol=1e-5)


def test_an_ode_that_depends_on_time_in_float32():
    # x = exp(-t^2 / 2) at 0: x^(2k) = (-1)^k (2k - 1)!!
    got = ode_series(lambda t, x: -t * x, jnp.float32(1), 16, t=jnp.float32(0))
    np.testing.assert_allclose(got[16], np.prod(np.arange(1.0, 16.0, 2.0)), rtol=1e-5)
    assert got[15] == 0


@pytest.mark.parametrize("orders", [(13, 13), (8, 8, 8)], ids=str)
def test_a_mixed_partial_in_float32_has_the_range_of_its_total_order(orders):
    # a coefficient is smaller by the product of the factorials, and each order alone has room for its own
    def slow(x):
        return jnp.exp(jnp.float32(0.05) * jnp.sum(x))

    total = sum(orders)
    got = mixed_partial(slow, jnp.zeros(len(orders), jnp.float32), orders)
    np.testing.assert_allclose(got, np.float64(np.float32(0.05)) ** total, rtol=1e-5)

"""Special points and closed forms: kinks, zeros, tails in float32, and orders up to twenty by mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax import lax

from jaxgrad.nth import _taylor_line, derivatives, laplacian
from tests.bridge import assert_parity
from tests.turns import one_in

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

INF = np.inf

KINKS = {
    "relu": (jax.nn.relu, [0, 0, 0, 0, 0]),
    "softplus": (jax.nn.softplus, [np.log(2), 0.5, 0.25, 0, -0.125]),
    "logaddexp": (lambda x: jnp.logaddexp(x, jnp.zeros_like(x)), [np.log(2), 0.5, 0.25, 0, -0.125]),
    "log_sigmoid": (jax.nn.log_sigmoid, [-np.log(2), 0.5, -0.25, 0, 0.125]),
    "sinc": (jnp.sinc, [1, 0, -(np.pi**2) / 3, 0, np.pi**4 / 5]),
    "xlogy": (lambda x: jax.scipy.special.xlogy(x, 2 + x), [0, np.log(2), 1, -0.75, 1]),
    "x**2.5": (lambda x: x**2.5, [0, 0, 0, INF, -INF]),
    "pow(x, 3.)": (lambda x: lax.pow(x, jnp.full_like(x, 3.0)), [0, 0, 0, 6, 0]),
    "sin(x)**2.0": (lambda x: jnp.sin(x) ** 2.0, [0, 0, 2, 0, -8]),
    "(x(1-x))**2.0": (lambda x: (x * (1 - x)) ** 2.0, [0, 0, 2, -12, 24]),
    "(1-cos(x))**2.0": (lambda x: (1 - jnp.cos(x)) ** 2.0, [0, 0, 0, 0, 6]),
    "sin(x)**[0, 1, 2, 3]": (lambda x: jnp.sum(lax.pow(jnp.full(4, jnp.sin(x)), jnp.arange(4))), [1, 1, 2, 5, -8]),
    "sin(x)**[0., 1., 2., 3.]": (lambda x: jnp.sum(jnp.sin(x) ** jnp.arange(4.0)), [1, 1, 2, 5, -8]),
    "sin(x)**2.5": (lambda x: jnp.sin(x) ** 2.5, [0, 0, 0, INF, -INF]),
    "cbrt": (jnp.cbrt, [0, INF, -INF, INF, -INF]),
    "x**-2": (lambda x: x**-2, [INF, -INF, INF, -INF, INF]),
    "sin(x)**-2.0": (lambda x: jnp.sin(x) ** -2.0, [INF, -INF, INF, -INF, INF]),
    "x**3": (lambda x: x**3, [0, 0, 0, 6, 0]),
    "abs, as JAX defines it": (jnp.abs, [0, 1, 0, 0, 0]),
}


@pytest.mark.parametrize("name", one_in(3, KINKS))
def test_at_zero(name):
    fun, want = KINKS[name]
    with jax.disable_jit():
        got = np.asarray(derivatives(fun, jnp.array(0.0), 4))
    finite = np.isfinite(want)
    np.testing.assert_allclose(got[finite], np.array(want)[finite], rtol=1e-12, atol=1e-12)
    assert got[~finite].tolist() == [w for w in want if not np.isfinite(w)]


def powers_of_sine(x, slope, exponent):
    return jnp.sin(slope * x) ** exponent


@pytest.mark.parametrize("exponent", one_in(3, [0.0, 1.0, 2.0, 3.0, 2.5, -1.0], 1))
def test_gradients_through_powers_beside_zero(exponent):
    def nested(x, slope, p):
        first = lambda t: jax.jvp(lambda s: powers_of_sine(s, slope, p), (t,), (1.0,))[1]  # noqa: E731
        return jax.jvp(first, (x,), (1.0,))[1]

    point = (jnp.array(0.4), jnp.array(1.3), jnp.array(exponent))
    got = jax.jit(jax.grad(lambda x, slope, p: derivatives(powers_of_sine, x, 2, slope, p)[2], (0, 1, 2)))(*point)
    assert_parity(got, jax.jit(jax.grad(nested, (0, 1, 2)))(*point))


def test_gradients_through_powers_at_zero():
    got = jax.grad(lambda w: derivatives(powers_of_sine, jnp.array(0.0), 4, w, 2.0)[4])(jnp.array(1.3))
    assert_parity(got, jnp.array(-32 * 1.3**3))


@pytest.mark.parametrize("curved", [False, True])
def test_slopes_of_a_power_of_zero_with_a_traced_exponent(curved):
    """They are those of the polynomial, and no order spoils those of another: of 2.5 the third one is infinite."""

    def orders(w, c, exponents):
        def powers(x, w, c, exponents):
            return ((jnp.sin(w * x) if curved else w * x) + c) ** exponents

        return jax.vmap(lambda p: derivatives(powers, jnp.zeros_like(w), 4, w, c, p))(exponents)

    w = 1.3
    by_w, by_c = jax.jit(jax.jacrev(orders, (0, 1)))(jnp.array(w), jnp.array(0.0), jnp.array([0, 1, 2, 3, 2.5]))
    bent = [w**k * curved for k in range(5)]
    zeros = [0.0] * 5
    of_w = [[0, 1, 0, -3 * bent[2], 0], [0, 0, 4 * w, 0, -32 * bent[3]], [0, 0, 0, 18 * w**2, 0]]
    of_c = [[1, 0, 0, 0, 0], [0, 2 * w, 0, -2 * bent[3], 0], [0, 0, 6 * w**2, 0, -24 * bent[4]]]
    np.testing.assert_allclose(by_w, [zeros, *of_w, zeros], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_c, [zeros, *of_c, zeros], rtol=1e-12, atol=1e-12)


def test_slopes_of_an_integral_of_powers_at_zero():
    got = jax.jit(jax.grad(lambda x: derivatives(lambda z: jax.scipy.special.betainc(2.0, 3.0, z), x, 2)[1]))(0.0)
    # of 12 x (1-x)^2, the density
    assert_parity(got, jnp.array(12.0))


def test_mish_at_zero():
    _, _, second = derivatives(jax.nn.mish, jnp.array(0.0), 2)
    assert_parity(second, mpmath_orders(lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))), 0.0, 2)[2])


def test_a_whole_power_of_a_negative_base():
    got = derivatives(lambda x: lax.pow(x, jnp.full_like(x, 3.0)), jnp.array(-2.0), 4)
    assert got.tolist() == [-8.0, 12.0, -12.0, 6.0, 0.0]


MOVING_EXPONENTS = {
    "0**x": (lambda x: 0.0**x, 0.7, 4),
    "x**(x + 2)": (lambda x: x ** (x + 2), 0.0, 2),
    "x**(sin(x) + 4.5)": (lambda x: x ** (jnp.sin(x) + 4.5), 0.0, 4),
    "x**(x + 2) beside zero": (lambda x: x ** (x + 2), 0.3, 4),
}


@pytest.mark.parametrize("name", MOVING_EXPONENTS)
def test_a_moving_exponent_agrees_with_nested_jvp(name):
    fun, x, order = MOVING_EXPONENTS[name]
    want = [fun]
    for _ in range(order):
        want.append(lambda t, inner=want[-1]: jax.jvp(inner, (t,), (1.0,))[1])
    assert_parity(
        derivatives(fun, jnp.array(x), order), jax.jit(lambda t: jnp.stack([f(t) for f in want]))(jnp.array(x))
    )


@pytest.mark.slow
def test_a_moving_exponent_of_a_base_with_zeros():
    def powers(v):
        return jnp.sum(v ** v[0])

    v = jnp.array([2.5, 0.0, 0.4])
    assert_parity(laplacian(powers, v), jnp.trace(jax.hessian(powers)(v)))
    away = jnp.array([2.5, 0.4])
    assert_parity(
        jax.grad(lambda z: laplacian(powers, z))(away), jax.grad(lambda z: jnp.trace(jax.hessian(powers)(z)))(away)
    )


TAILS = [
    (jnp.tanh, mpmath.tanh, 3e-8),
    (jnp.tanh, mpmath.tanh, 1e-5),
    (lambda x: jax.scipy.special.erfc(x), mpmath.erfc, 5.0),
    (jnp.log1p, mpmath.log1p, 1e-6),
    (jnp.expm1, mpmath.expm1, 1e-6),
    (jnp.arcsinh, mpmath.asinh, -1e4),
    (jnp.arctanh, mpmath.atanh, 1e-6),
]


@pytest.mark.parametrize(("fun", "exact", "x"), TAILS)
def test_tails_in_float32(fun, exact, x):
    x = np.float32(x)
    got = np.asarray(derivatives(fun, jnp.asarray(x), 2), np.float64)
    np.testing.assert_allclose(got, mpmath_orders(exact, float(x), 2), rtol=1e-5)


def mpmath_orders(fun, x, order):
    """Derivatives by fifty digits' Taylor series."""
    with mpmath.workdps(60):
        coefficients = mpmath.taylor(fun, mpmath.mpf(x), order)
        return np.array([float(c * mpmath.factorial(k)) for k, c in enumerate(coefficients)])


CLOSED = {
    "exp": (jnp.exp, mpmath.exp),
    "sin": (jnp.sin, mpmath.sin),
    "cosh": (jnp.cosh, mpmath.cosh),
    "tanh": (jnp.tanh, mpmath.tanh),
    "tan": (jnp.tan, mpmath.tan),
    "logistic": (jax.nn.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "erf": (jax.scipy.special.erf, mpmath.erf),
    "log": (jnp.log, mpmath.log),
    "sqrt": (jnp.sqrt, mpmath.sqrt),
    "rsqrt": (lax.rsqrt, lambda x: 1 / mpmath.sqrt(x)),
    "atan": (jnp.arctan, mpmath.atan),
    "asinh": (jnp.arcsinh, mpmath.asinh),
    "asin": (lambda x: jnp.arcsin(x / 2), lambda x: mpmath.asin(x / 2)),
    "acosh": (lambda x: jnp.arccosh(1 + x), lambda x: mpmath.acosh(1 + x)),
    "x**2.5": (lambda x: x**2.5, lambda x: x ** mpmath.mpf(2.5)),
    "x**x": (lambda x: x**x, lambda x: x**x),
    "exp(sin(x)) / (1 + x^2)": (
        lambda x: jnp.exp(jnp.sin(x)) / (1 + x**2),
        lambda x: mpmath.exp(mpmath.sin(x)) / (1 + x**2),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_to_order_twenty(name):
    fun, exact = CLOSED[name]
    # one operation at a time: the same series, without the time to compile twenty orders
    with jax.disable_jit():
        got = np.asarray(derivatives(fun, jnp.array(0.7), 20))
    want = mpmath_orders(exact, 0.7, 20)
    # a derivative that passes near zero is measured against its neighbours, in units of its factorial
    unit = np.array([_taylor_line.factorial(k) for k in range(21)])
    scale = np.maximum(np.abs(want / unit), 1e-3 * np.abs(want / unit).max(initial=0, where=np.arange(21) > 0))
    assert np.max(np.abs(got - want) / unit / scale) < 1e-10


@pytest.mark.parametrize("order", [1, 2, 5, 12, 20, 22, 32])
def test_factorials_are_exact(order):
    """The nth derivative of x^n is n!, to the last bit that the dtype holds."""
    with jax.disable_jit():
        got = derivatives(lambda x: x**order, jnp.array(1.0), order)[order]
    assert float(got) == float(np.prod([float(k) for k in range(1, order + 1)])) or order > 22
    assert abs(float(got) / _taylor_line.factorial(order) - 1) < 1e-15

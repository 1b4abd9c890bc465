"""Special functions at their edges and far out, against mpmath; and what sorts its operands at a tie."""

import functools

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import mpmath
import numpy as np
import pytest

from jaxgrad.nth import derivatives, laplacian
from tests.bridge import assert_parity
from tests.turns import one_in

ORDER = 6


def exact(fun, x):
    """Derivatives by sixty digits' Taylor series."""
    with mpmath.workdps(60):
        rows = mpmath.taylor(fun, mpmath.mpf(x), ORDER)
        return np.array([float(mpmath.re(c) * mpmath.factorial(k)) for k, c in enumerate(rows)])


def got(fun, x):
    with jax.disable_jit():
        return np.asarray(derivatives(fun, jnp.asarray(x, float), ORDER))


def scaled(n):
    return lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(n, x)


POINTS = [0.0, 1e-3, 0.5, -0.7, 5.0, 20.0, 49.0, 51.0]
BESSEL = {
    "jnp.i0": (jnp.i0, lambda x: mpmath.besseli(0, x), POINTS),
    "i0": (jsp.i0, lambda x: mpmath.besseli(0, x), POINTS),
    "i1": (jsp.i1, lambda x: mpmath.besseli(1, x), POINTS),
    "i0e": (jsp.i0e, scaled(0), [*POINTS[1:], 700.0, -300.0]),
    "i1e": (jsp.i1e, scaled(1), [*POINTS[1:], 700.0, -300.0]),
}


@pytest.mark.parametrize("name", one_in(4, BESSEL))
def test_bessel(name):
    fun, reference, points = BESSEL[name]
    for row, x in zip(got(fun, points).T, points, strict=True):
        np.testing.assert_allclose(row, exact(reference, x), rtol=1e-11, atol=1e-14)


def test_scaled_bessel_at_zero_has_the_derivatives_from_the_right():
    """As JAX has them of the absolute value, so that their product is smooth."""
    for n, fun in enumerate((jsp.i0e, jsp.i1e)):
        right = exact(lambda x, n=n: mpmath.exp(-x) * mpmath.besseli(n, x), 0.0)
        np.testing.assert_allclose(got(fun, 0.0), right, atol=1e-14)


@pytest.mark.slow
def test_bessel_backwards_in_float32_and_in_sums():
    def second(x):
        return derivatives(jsp.i0, x, 2)[2]

    assert_parity(jax.grad(second)(jnp.array(0.0)), 0.0)
    assert_parity(jax.grad(jax.grad(second))(jnp.array(0.0)), 0.375)
    points = np.array([0.0, 0.5, 20.0, 60.0], np.float32)
    single = derivatives(jsp.i0e, jnp.asarray(points), 3)
    assert_parity(single, derivatives(jsp.i0e, jnp.asarray(points, jnp.float64), 3), tolerance=1e-5)
    x = jnp.array([0.0, 0.4, 1.3])
    assert_parity(laplacian(lambda z: jnp.prod(jsp.i0(z)), x), laplacian(lambda z: jnp.prod(series_of_i0(z)), x))


def series_of_i0(x):
    """The sum of even powers."""
    return sum((x * x / 4) ** m / float(mpmath.factorial(m)) ** 2 for m in range(20))


def beta(a, b):
    return lambda x: mpmath.betainc(a, b, 0, x, regularized=True)


def by_polynomial(a):
    """The incomplete gamma function of an integer, which mpmath continues through zero."""
    return lambda x: 1 - mpmath.exp(-x) * sum(x**k / mpmath.factorial(k) for k in range(a))


INTEGRALS = {
    "betainc(1, 2)": (lambda x: jsp.betainc(1.0, 2.0, x), lambda x: 2 * x - x**2, [0, 0.3, 1]),
    "betainc(2, 3)": (lambda x: jsp.betainc(2.0, 3.0, x), lambda x: x**2 * (6 - 8 * x + 3 * x**2), [0, 0.3, 1]),
    "betainc(3, 1)": (lambda x: jsp.betainc(3.0, 1.0, x), lambda x: x**3, [0, 0.3, 1]),
    "betainc(2.5, 3.5)": (lambda x: jsp.betainc(2.5, 3.5, x), beta(2.5, 3.5), [0.3, 0.9]),
    "gammainc(1)": (lambda x: jsp.gammainc(1.0, x), by_polynomial(1), [0, 0.5, 5]),
    "gammainc(2)": (lambda x: jsp.gammainc(2.0, x), by_polynomial(2), [0, 0.5, 5]),
    "gammainc(3)": (lambda x: jsp.gammainc(3.0, x), by_polynomial(3), [0, 0.5, 5]),
    "gammaincc(2)": (lambda x: jsp.gammaincc(2.0, x), lambda x: 1 - by_polynomial(2)(x), [0, 0.5, 5]),
    "gammainc(2.5)": (lambda x: jsp.gammainc(2.5, x), lambda x: mpmath.gammainc(2.5, 0, x, regularized=True), [0.5, 5]),
    "of a curve": (lambda x: jsp.gammainc(2.0, x**2 + x), lambda x: by_polynomial(2)(x**2 + x), [0, 0.5]),
    "log_ndtr": (jsp.log_ndtr, lambda x: mpmath.log(mpmath.ncdf(x)), [-30, -20, -8, -1, 0, 1, 5]),
}


@pytest.mark.parametrize("name", one_in(4, INTEGRALS, 2))
def test_integrals(name):
    fun, reference, points = INTEGRALS[name]
    for row, x in zip(got(fun, points).T, points, strict=True):
        want = exact(reference, x)
        np.testing.assert_allclose(row, want, rtol=1e-10, atol=1e-13 * np.abs(want).max())


def test_a_power_that_has_no_derivative_at_zero_is_infinite():
    with jax.disable_jit():
        _, first, second = derivatives(lambda x: jsp.gammainc(1.5, x), jnp.array(0.0), 2)
    assert first == 0
    assert second == np.inf


def test_large_parameters_do_not_overflow():
    rows = derivatives(lambda x: jsp.gammainc(3000.0, x), jnp.array(3000.0), 2)
    density = jnp.exp(2999 * jnp.log(3000.0) - 3000.0 - jsp.gammaln(3000.0))
    assert_parity(rows[1:], jnp.stack([density, density * (2999 / 3000 - 1)]), tolerance=1e-9)


TIES = {
    "betaln(x, 1)": (lambda x: jsp.betaln(x, 1.0), lambda x: mpmath.log(mpmath.beta(x, 1)), 1.0),
    "betaln(1, x)": (lambda x: jsp.betaln(1.0, x), lambda x: mpmath.log(mpmath.beta(x, 1)), 1.0),
    "betaln(x, 2 - x)": (lambda x: jsp.betaln(x, 2 - x), lambda x: mpmath.log(mpmath.beta(x, 2 - x)), 1.0),
    "beta(x, 1)": (lambda x: jsp.beta(x, 1.0), lambda x: mpmath.beta(x, 1), 1.0),
    "hypot(x, 1)": (lambda x: jnp.hypot(x, 1.0), lambda x: mpmath.sqrt(1 + x * x), 1.0),
    "hypot(x, -1)": (lambda x: jnp.hypot(x, -1.0), lambda x: mpmath.sqrt(1 + x * x), -1.0),
}


@pytest.mark.parametrize("name", one_in(2, TIES))
def test_functions_that_sort_two_operands(name):
    fun, reference, x = TIES[name]
    np.testing.assert_allclose(got(fun, x), exact(reference, x), rtol=1e-9)


def test_sorted_operands_are_found_under_transformations():
    along = derivatives(jax.jit(jax.vmap(lambda x: jnp.hypot(x, 1.0))), jnp.ones(2), 2)
    np.testing.assert_allclose(along[2], [0.5**1.5, 0.5**1.5], rtol=1e-12)


def test_sorted_operands_in_sums():
    x = jnp.array([1.0, 1.0])
    radius = lambda z: jnp.hypot(z[0], z[1])  # noqa: E731
    assert_parity(laplacian(radius, x), 1 / jnp.sqrt(2.0))


def test_a_maximum_of_ones_own_keeps_the_half_of_a_tie():
    assert derivatives(lambda x: jnp.maximum(x, x**2), jnp.array(1.0), 2).tolist() == [1.0, 1.5, 1.0]


@pytest.mark.parametrize("how", ["custom_jvp", "wraps"])
def test_a_rule_of_ones_own_for_what_wraps_a_function_of_jax(how):
    # both go by the file and the name of the function inside
    inside = jsp.log_ndtr
    if how == "wraps":

        @functools.wraps(jsp.log_ndtr)
        def inside(x, series_order=3):
            return jnp.sin(x)

    ours = jax.custom_jvp(inside, nondiff_argnums=(1,))
    ours.defjvp(lambda _, primals, tangents: (ours(*primals), 7.0 * tangents[0]))
    assert_parity(derivatives(ours, jnp.array(0.3), 2)[1:], np.array([7.0, 0.0]))

"""The engine under and around transformations, its laws, and the length of what it traces."""

import jax
import jax.numpy as jnp
import pytest

from jaxgrad.nth import derivative, derivatives, directional, taylor_coefficients
from tests.bridge import assert_parity, random_like
from tests.nth.networks import draw, of_numbers

X = jnp.array([0.3, 0.7, 1.1])


def wave(x, k):
    return jnp.sin(k * x) * jnp.exp(-x)


def equations(jaxpr):
    """Count equations, those of inner jaxprs included."""
    inner = [v for eqn in jaxpr.eqns for v in eqn.params.values() if hasattr(v, "jaxpr")]
    return len(jaxpr.eqns) + sum(equations(closed.jaxpr) for closed in inner)


@pytest.mark.parametrize("sizes", [(1, 64, 64, 1), (1, 128, 128, 128, 1)])
def test_the_trace_grows_at_most_quadratically(sizes):
    params, x, _, _ = draw(sizes, (8,))
    counts = {
        n: equations(jax.make_jaxpr(lambda z, n=n: derivatives(of_numbers, z, n, params))(x).jaxpr)
        for n in (4, 8, 16, 32)
    }
    for n in (8, 16, 32):
        assert counts[n] <= 4 * counts[n // 2], counts
    assert counts[8] < 150 * (len(sizes) - 1)


def test_the_linear_part_costs_one_product_an_order():
    params, x, _, _ = draw((1, 128, 128, 128, 1), (1024,))
    program = jax.jit(lambda z, p: derivatives(of_numbers, z, 6, p)).lower(x, params).compile().as_text()
    hidden = [line for line in program.splitlines() if " dot(" in line and "[1024,128]" in line.split("dot(")[0]]
    assert len(hidden) <= 2 * 7


def test_grad_and_scan_and_vmap_around_it():
    slope = jax.grad(lambda k: jnp.sum(derivative(wave, X, 3, k)))(2.0)
    step = 1e-5
    difference = jnp.sum(derivative(wave, X, 3, 2 + step) - derivative(wave, X, 3, 2 - step)) / (2 * step)
    assert_parity(slope, difference, tolerance=1e-8)
    _, rows = jax.lax.scan(lambda c, k: (c, derivative(wave, X, 3, k)), 0, jnp.array([1.0, 2.0]))
    mapped = jax.vmap(lambda k: derivative(wave, X, 3, k))(jnp.array([1.0, 2.0]))
    assert_parity(rows, mapped)


def test_itself_inside_itself():
    nested = derivative(lambda x: derivative(wave, x, 2, 2.0), X, 3)
    assert_parity(nested, derivative(wave, X, 5, 2.0))


def test_transformations_inside_it():
    def fun(x):
        inner = jax.vmap(jax.grad(lambda z: wave(z, 2.0)))(x)
        return jax.jit(jnp.tanh)(inner)

    want = derivative(lambda x: jnp.tanh(derivative(wave, x, 1, 2.0)), X, 4)
    assert_parity(derivative(fun, X, 4), want)


def test_composition_of_series():
    """Faa di Bruno's law: the series of g after f is g on the series of f."""
    inner = taylor_coefficients(wave, X, jnp.ones(3), 6, 2.0)
    shift = jnp.zeros(())

    def outer(t):
        return jnp.tanh(sum(c * t**k for k, c in enumerate(inner)))

    got = taylor_coefficients(lambda x: jnp.tanh(wave(x, 2.0)), X, jnp.ones(3), 6)
    assert_parity(got, taylor_coefficients(outer, shift, jnp.ones(()), 6))


def test_polynomials_end_exactly():
    def polynomial(x):
        return (x**3 - 2 * x) ** 3 + x**2

    assert derivatives(polynomial, X, 12)[10:].tolist() == [[0.0] * 3] * 3


def test_memory_of_a_checkpoint_is_kept_and_right():
    w = random_like(jnp.ones((4, 3, 3)), 1)

    def deep(x, w):
        return jax.lax.scan(jax.checkpoint(lambda c, row: (jnp.tanh(row @ c), None)), x, w)[0]

    def plain(x, w):
        for row in w:
            x = jnp.tanh(row @ x)
        return x

    v = jnp.ones(3)
    assert_parity(directional(deep, X, v, 4, w), directional(plain, X, v, 4, w))
    loss = jax.grad(lambda u: jnp.sum(directional(deep, X, v, 3, u) ** 2))(w)
    assert_parity(loss, jax.grad(lambda u: jnp.sum(directional(plain, X, v, 3, u) ** 2))(w))

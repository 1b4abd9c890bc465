"""The engine under and around transformations, its laws, and the length of what it traces."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from jaxgrad.nth import derivative, derivatives, directional, jet, taylor_coefficients
from tests.bridge import assert_parity, random_like
from tests.nth.networks import draw, of_numbers, of_point

pytestmark = pytest.mark.usefixtures("compiled_quickly")

X = jnp.array([0.3, 0.7, 1.1])


def wave(x, k):
    return jnp.sin(k * x) * jnp.exp(-x)


def equations_inside(jaxpr):
    """Yield every equation, those of inner jaxprs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in eqn.params.values():
            if hasattr(inner, "jaxpr"):
                yield from equations_inside(inner.jaxpr)


def products(jaxpr):
    """Count the multiplications of all matrix products."""
    dots = [eqn for eqn in equations_inside(jaxpr) if eqn.primitive.name == "dot_general"]
    sums = [eqn.params["dimension_numbers"][0][0] for eqn in dots]
    return sum(
        eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[axis] for axis in axes)
        for eqn, axes in zip(dots, sums, strict=True)
    )


NETWORKS = [(1, 64, 64, 1), (1, 128, 128, 128, 1)]


def trace_of_row(sizes, order):
    """Trace a row of the benchmark, on few points."""
    params, x, _, _ = draw(sizes, (8,))
    return jax.make_jaxpr(lambda z, p: derivatives(of_numbers, z, order, p))(x, params).jaxpr


@pytest.mark.parametrize("sizes", NETWORKS)
def test_every_row_is_traced_to_quadratically_many_equations_and_one_product_an_order(sizes):
    params, x, _, _ = draw(sizes, (8,))
    forward = products(jax.make_jaxpr(of_numbers)(x, params).jaxpr)
    counts = {}
    for order in (1, 2, 4, 6, 8, 10, 20, 30):
        jaxpr = trace_of_row(sizes, order)
        counts[order] = len(list(equations_inside(jaxpr)))
        # XLA takes products out of a program and puts none in
        assert products(jaxpr) <= 1.05 * (order + 1) * forward, order
    for low, high in itertools.combinations(counts, 2):
        assert counts[high] <= (high / low) ** 2 * counts[low], counts
    assert counts[8] < 150 * (len(sizes) - 1)


@pytest.mark.parametrize("name", ["directional", "jet"])
def test_the_trace_along_a_line_grows_at_most_quadratically(name):
    params, x, _, _ = draw((16, 8, 8, 1), (16,))

    def along(order):
        if name == "jet":
            return lambda z: jet(lambda y: of_point(y, params), (z,), ([jnp.ones_like(z), *[None] * (order - 1)],))
        return lambda z: directional(of_point, z, jnp.ones_like(z), order, params)

    counts = [len(list(equations_inside(jax.make_jaxpr(along(order))(x).jaxpr))) for order in (4, 8, 16)]
    assert counts[1] <= 4 * counts[0]
    assert counts[2] <= 4 * counts[1]


def test_the_linear_part_costs_one_product_an_order():
    params, x, _, _ = draw((1, 128, 128, 128, 1), (1024,))
    program = jax.jit(lambda z, p: derivatives(of_numbers, z, 6, p)).lower(x, params).compile().as_text()
    hidden = [line for line in program.splitlines() if " dot(" in line and "[1024,128]" in line.split("dot(")[0]]
    assert len(hidden) <= 2 * 7


def test_grad_and_scan_and_vmap_around_it():
    slope = jax.jit(jax.grad(lambda k: jnp.sum(derivative(wave, X, 3, k))))(2.0)
    step = 1e-5
    difference = jnp.sum(derivative(wave, X, 3, 2 + step) - derivative(wave, X, 3, 2 - step)) / (2 * step)
    assert_parity(slope, difference, tolerance=1e-8)
    _, rows = jax.lax.scan(lambda c, k: (c, derivative(wave, X, 3, k)), 0, jnp.array([1.0, 2.0]))
    mapped = jax.jit(jax.vmap(lambda k: derivative(wave, X, 3, k)))(jnp.array([1.0, 2.0]))
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


def test_polynomials_end_exactly(compiled_fully):
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
    loss = jax.jit(jax.grad(lambda u: jnp.sum(directional(deep, X, v, 3, u) ** 2)))(w)
    assert_parity(loss, jax.jit(jax.grad(lambda u: jnp.sum(directional(plain, X, v, 3, u) ** 2)))(w))

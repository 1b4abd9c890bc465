"""Loops whose length is mapped, refs, effects, and custom rules inside of control flow."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxgrad.nth import derivatives, directional, laplacian
from tests.bridge import assert_parity
from tests.turns import one_in

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def nested(fun, x, order):
    """Every derivative by jvp of jvp."""
    rows = [fun]
    for _ in range(order):
        rows.append(lambda t, inner=rows[-1]: jax.jvp(inner, (t,), (jnp.ones_like(t),))[1])
    return jax.jit(lambda x: jnp.stack([row(x) for row in rows]))(x)


def newton(a, t):
    return lax.while_loop(lambda y: jnp.abs(y * y - a * t) > 1e-13, lambda y: 0.5 * (y + a * t / y), a)


def until(n, t):
    return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * jnp.sin(t * s[1])), (0, jnp.stack([t, t**2])))


MAPPED_LOOPS = {
    "newton": lambda t: jax.vmap(newton, (0, None))(jnp.array([1.0, 3.0]), t).sum(),
    "fori_loop of mapped length": lambda t: jax.vmap(lambda n: lax.fori_loop(0, n, lambda i, c: jnp.sin(c * t), t))(
        jnp.array([1, 3])
    ).sum(),
    "carries of other shapes": lambda t: jax.vmap(lambda n: until(n, t)[1])(jnp.array([2, 0, 1])).sum(),
    "mapped twice": lambda t: jax.vmap(jax.vmap(lambda n, s: until(n, s * t)[1], (0, None)), (None, 0))(
        jnp.arange(3), jnp.array([0.2, 0.5])
    ).sum(),
    "hyp1f1": lambda t: jax.scipy.special.hyp1f1(1.2, 2.3, t * jnp.array([0.3, 0.7])).sum(),
}


@pytest.mark.parametrize("name", one_in(3, MAPPED_LOOPS, 1))
def test_a_mapped_loop_of_differing_length(name):
    fun, t, order = MAPPED_LOOPS[name], jnp.array(0.9), 1 if name == "hyp1f1" else 3
    # JAX's own hypergeometric functions mix dtypes
    with jax.numpy_dtype_promotion("standard"):
        assert_parity(derivatives(fun, t, order), nested(fun, t, order), tolerance=1e-9)


def test_a_mapped_loop_inside_of_the_laplacian():
    def fun(v):
        return MAPPED_LOOPS["newton"](v[0] * v[1])

    v = jnp.array([1.2, 0.7])
    assert_parity(laplacian(fun, v), jnp.trace(jax.jit(jax.jacfwd(jax.jacfwd(fun)))(v)), tolerance=1e-9)


def filled_by_loop(t):
    buffer = jax.new_ref(jnp.zeros(3))

    def body(i, c):
        buffer[i] = jnp.sin(t * i)
        return c

    lax.fori_loop(0, 3, body, 0)
    return jax.freeze(buffer).sum()


def of_moving(t):
    buffer = jax.new_ref(t)
    buffer[...] = buffer[...] * jnp.sin(t)
    return buffer[...]


def written(t):
    buffer = jax.new_ref(jnp.zeros(()))
    buffer[...] = jnp.sin(t)
    return buffer[...]


def written_in_branch(t):
    buffer = jax.new_ref(jnp.zeros(()))
    lax.cond(t > 0, lambda: buffer.__setitem__(..., t), lambda: None)
    return jax.freeze(buffer)


def added(t):
    buffer = jax.new_ref(jnp.zeros(2))
    jax.ref.addupdate(buffer, 0, t)
    return buffer[...].sum()


def made_inside_of_a_scan(t):
    def step(c, _):
        buffer = jax.new_ref(jnp.zeros(()))
        buffer[...] = c * t
        return jax.freeze(buffer), None

    return lax.scan(step, t, None, length=2)[0]


def under_jit(t):
    return jax.jit(written)(t)


REFS = (filled_by_loop, of_moving, written, written_in_branch, added, made_inside_of_a_scan, under_jit)


@pytest.mark.parametrize("fun", REFS, ids=lambda fun: fun.__name__)
def test_a_ref_that_is_written_what_moves_is_refused(fun):
    with pytest.raises(NotImplementedError, match=r"mutable array \(jax.new_ref\).*write array.at"):
        derivatives(fun, jnp.array(0.7), 2)
    with pytest.raises(NotImplementedError, match=r"mutable array \(jax.new_ref\)"):
        directional(fun, jnp.array(0.7), jnp.array(1.0), 1)


def test_a_ref_from_outside_that_is_written_what_moves_is_refused():
    outside = jax.new_ref(jnp.zeros(()))

    def fun(t):
        outside[...] = t
        return t * outside[...]

    with jax.disable_jit(), pytest.raises(NotImplementedError, match=r"mutable array \(jax.new_ref\)"):
        derivatives(fun, jnp.array(0.7), 2)


def test_a_ref_of_constants_is_read():
    def fun(t):
        table = jax.new_ref(jnp.arange(3.0))
        table[0] = 5.0
        return jnp.sin(t) * table[0] + table[2]

    assert_parity(derivatives(fun, jnp.array(0.7), 2), nested(lambda t: 5 * jnp.sin(t) + 2, jnp.array(0.7), 2))


def test_an_effect_takes_place_once():
    seen = []

    def fun(t):
        jax.debug.callback(lambda v: seen.append(float(v)), t)
        return lax.fori_loop(0, 2, lambda i, c: jnp.sin(c), t)

    derivatives(fun, jnp.array(0.5), 3).block_until_ready()
    jax.effects_barrier()
    assert seen == [0.5]


@jax.custom_jvp
def by_branch(x):
    return jnp.abs(x) ** 3


@by_branch.defjvp
def _by_branch(primals, tangents):
    (x,), (t,) = primals, tangents
    return by_branch(x), lax.cond(x > 0, lambda t: 2 * doubled(x) * t, lambda t: -jnp.sin(x) * t, t)


@jax.custom_jvp
def doubled(x):
    return jnp.sin(x)


doubled.defjvp(lambda p, t: (doubled(p[0]), 2 * jnp.cos(p[0]) * t[0]))

AROUND = {
    "alone": lambda g: g,
    "scan": lambda g: lambda x: lax.scan(lambda c, _: (g(c) / 2, g(c)), x, None, length=2)[1].sum(),
    "checkpoint": lambda g: lambda x: jax.checkpoint(lambda y: g(jnp.sin(y)))(x),
    "vmap": lambda g: lambda x: jax.vmap(g)(x * jnp.array([1.0, -0.4])).sum(),
    "while": lambda g: lambda x: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, g(s[1])), (0, x))[1],
}


@pytest.mark.parametrize("around", one_in(2, AROUND))
def test_custom_rules_with_branches_and_inside_each_other(around):
    fun, order = AROUND[around](by_branch), 5 if around == "alone" else 3
    for x in (0.7, -0.3):
        assert_parity(derivatives(fun, jnp.array(x), order), nested(fun, jnp.array(x), order))


def test_an_empty_error_of_a_rule_is_told_by_its_name():
    @jax.custom_vjp
    def asserts(x):
        return x**2

    def backward(_, __):
        raise AssertionError

    asserts.defvjp(lambda x: (x**2, x), backward)
    with pytest.raises(TypeError, match=r"AssertionError in its rule.*jax.custom_jvp") as caught:
        derivatives(asserts, jnp.array(0.7), 1)
    assert "used at" not in str(caught.value), "no line of a user wrote it"

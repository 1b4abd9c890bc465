"""`nth.jet` against `jax.experimental.jet.jet`, nested autograd, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.experimental.jet import jet as jax_jet

import torch_ref.nth
from jaxgrad.nth import jet
from tests.bridge import assert_parity, random_like, to_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def surface(x, y):
    return jnp.sin(x) * jnp.exp(y) + x * x


def surface_torch(x, y):
    return torch.sin(x) * torch.exp(y) + x * x


@pytest.mark.parametrize(("order", "scaled"), [pytest.param(1, True, marks=pytest.mark.slow), (3, False), (5, True)])
def test_is_a_drop_in_and_matches_torch(order, scaled):
    primals = (jnp.array([0.3, 0.7]), jnp.array([-0.2, 0.4]))
    series = tuple([random_like(p, 10 * i + k) for k in range(order)] for i, p in enumerate(primals))
    got = jet(surface, primals, series, scaled)
    theirs = jax.jit(lambda p, s: jax_jet(surface, p, s, factorial_scaled=scaled))
    assert_parity(got, theirs(primals, series))
    assert_parity(got, torch_ref.nth.jet(surface_torch, to_torch(primals), to_torch(series), scaled))


def test_of_a_composition_is_the_composition():
    x, series = jnp.array(0.4), ([jnp.array(1.0), jnp.array(-0.5), jnp.array(2.0), jnp.array(0.3)],)
    inner = jet(jnp.tanh, (x,), series)
    assert_parity(jet(jnp.exp, (inner[0],), (inner[1],)), jet(lambda z: jnp.exp(jnp.tanh(z)), (x,), series))


def test_none_is_zero_and_trees_are_taken():
    def fun(tree):
        return {"y": tree["a"] * tree["b"]}

    primal = {"a": jnp.array(2.0), "b": jnp.array(3.0)}
    got = jet(fun, (primal,), ([{"a": jnp.array(1.0), "b": jnp.array(1.0)}, None],))
    assert_parity(got, ({"y": jnp.array(6.0)}, {"y": [jnp.array(5.0), jnp.array(2.0)]}))
    assert jet(jnp.sin, (0.0,), ([],))[1] == []


def twice_and_sine(a, n):
    return a * n + jnp.sin(a)


@pytest.mark.parametrize("zero", one_in(2, [None, 0, 0.0, np.zeros((), int), np.zeros((), jax.dtypes.float0)]))
def test_integers_are_constants(zero):
    want = jet(lambda a: twice_and_sine(a, 3), (0.4,), ([1.0, 0.5],))
    assert_parity(jet(twice_and_sine, (0.4, 3), ([1.0, 0.5], [zero, zero])), want)
    tree = jet(
        lambda p: twice_and_sine(p["a"], p["n"]),
        ({"a": 0.4, "n": 3},),
        ([{"a": 1.0, "n": zero}, {"a": 0.5, "n": zero}],),
    )
    assert_parity(tree, want)


def test_one_number_is_a_coefficient_of_every_entry():
    x = jnp.array([0.3, 0.7])
    got = jet(jnp.sin, (x,), ([1.0, jnp.array(0.5)],))
    assert_parity(got, jet(jnp.sin, (x,), ([jnp.ones(2), jnp.full(2, 0.5)],)))


def test_is_a_drop_in_for_complex_numbers():
    z, series = jnp.array([0.7 + 0.4j, -0.2 + 1j]), ([jnp.array([1j, 1.0 + 2j]), 0.5j],)

    def fun(z):
        return jnp.exp(z) * z**3 / (2 + z)

    got = jet(fun, (z,), series)
    assert_parity(got, jax.jit(lambda z: jax_jet(fun, (z,), ([series[0][0], jnp.full(2, 0.5j)],)))(z))


@pytest.mark.parametrize(
    "fun", one_in(2, [jnp.abs, jnp.conj, jnp.real, lambda z: z * jnp.conj(z) ** 2, lambda z: jnp.angle(z)])
)
def test_a_function_that_is_not_holomorphic_is_differentiated_by_the_real_parameter(fun):
    z, v, w = 0.7 + 0.4j, 1.0 - 2j, 0.3 + 0.1j

    def along(t):
        return fun(z + v * t + w * t**2 / 2)

    first, second = jet(fun, (z,), ([v, w],))[1]
    rows = jax.jit(lambda t: jax.jvp(lambda s: jax.jvp(along, (s,), (1.0,))[1], (t,), (1.0,)))(0.0)
    assert_parity([first, second], list(rows))


@pytest.mark.parametrize(
    ("primals", "series", "message"),
    [
        ((1.0, 2.0), ([1.0],), "primals and series must pair up; got 2 and 1"),
        ((1.0, 2.0), ([1.0], [1.0, 0.0]), r"all series must have one length; got \[1, 2\]"),
        ((np.ones(2), 2.0), ([np.ones(3)], [1.0]), r"series\[0\]\[0\] must be like primals\[0\], of shape \(2,\)"),
        (({"a": 1.0}, 2.0), ([{"b": 1.0}], [1.0]), r"series\[0\]\[0\] must be like primals\[0\], a tree of its struct"),
        ((), (), r"primals must hold an argument of fun that is an array; got \(\)"),
    ],
)
def test_rejects(primals, series, message):
    with pytest.raises(ValueError, match=message):
        jet(surface, primals, series)


def test_rejects_a_complex_series_of_a_real_primal_and_one_that_moves_an_integer():
    with pytest.raises(TypeError, match=r"got a int, which is a constant, and series\[0\]\[0\] moves it: give None"):
        jet(surface, (1, 2.0), ([1.0], [1.0]))
    with pytest.raises(TypeError, match=r"series\[0\]\[0\] is complex and primals\[0\] real"):
        jet(jnp.sin, (1.0,), ([1j],))
    with pytest.raises(TypeError, match="a zero that is not traced"):
        jax.jit(lambda zero: jet(twice_and_sine, (0.4, 3), ([1.0], [zero])))(0)

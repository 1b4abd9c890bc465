"""`nth.jet` against `jax.experimental.jet.jet`, nested autograd, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest
import torch
from jax.experimental.jet import jet as jax_jet

import torch_ref.nth
from jaxgrad.nth import jet
from tests.bridge import assert_parity, random_like, to_torch


def surface(x, y):
    return jnp.sin(x) * jnp.exp(y) + x * x


def surface_torch(x, y):
    return torch.sin(x) * torch.exp(y) + x * x


@pytest.mark.parametrize(("order", "scaled"), [(1, True), (3, False), (6, True)])
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


@pytest.mark.parametrize(
    ("primals", "series", "message"),
    [
        ((1.0, 2.0), ([1.0],), "primals and series must pair up; got 2 and 1"),
        ((1.0, 2.0), ([1.0], [1.0, 0.0]), r"all series must have one length; got \[1, 2\]"),
        ((jnp.ones(2), 2.0), ([jnp.ones(3)], [1.0]), r"series\[0\]\[0\] must be like primals\[0\]"),
    ],
)
def test_rejects(primals, series, message):
    with pytest.raises(ValueError, match=message):
        jet(surface, primals, series)

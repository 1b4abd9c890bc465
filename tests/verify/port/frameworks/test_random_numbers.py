"""The distribution of a function of random bits is exact, and what is no function of one draw is not claimed."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.verify.port.frameworks._random_numbers import POINTS, Random, interpret

KEY = jax.random.key(0)


def made(function):
    program = jax.make_jaxpr(function)(KEY)
    return interpret(program, [None] * len(program.jaxpr.invars))[0]


@pytest.mark.parametrize(
    ("function", "quantile"),
    [
        (lambda key: jax.random.uniform(key, (3,), minval=-2.0, maxval=4.0), lambda q: 6 * q - 2),
        (lambda key: jax.random.exponential(key, (2, 2)), lambda q: -np.log1p(-q)),
        (lambda key: jax.random.bernoulli(key, 0.85, (5,)), lambda q: q < 0.85),
        (lambda key: jnp.floor(0.7 + jax.random.uniform(key, (4, 1, 1))) / 0.7, lambda q: (q >= 0.3) / 0.7),
    ],
)
def test_a_function_of_one_draw(function, quantile):
    found = made(function)
    points = (np.arange(POINTS) + 0.5) / POINTS
    np.testing.assert_allclose(found.values.astype(float), quantile(points).astype(float), atol=1e-5)


def test_initialisers_have_their_deviation():
    for init, scale in ((fnn.initializers.lecun_normal(), 0.5), (fnn.initializers.he_uniform(), 0.5**0.5),
                        (fnn.initializers.normal(0.02), 0.02)):  # fmt: skip
        found = made(lambda key, init=init: init(key, (4, 9)))
        assert isinstance(found, Random)
        assert np.sqrt(np.mean(found.values.astype(float) ** 2)) == pytest.approx(scale, rel=1e-3)


def test_constants_are_told_from_data_and_several_draws():
    assert made(lambda key: jnp.ones(3) * 2) == 2
    assert made(lambda key: jnp.arange(3.0)) is None
    assert made(lambda key: fnn.initializers.orthogonal()(key, (3, 3))) is None
    assert made(lambda key: jax.random.uniform(key) + jax.random.uniform(jax.random.fold_in(key, 1))) is None


def test_a_scan_stacks_what_every_step_draws():
    def drawn(key):
        return jax.lax.scan(lambda _, k: (None, jax.random.uniform(k, (2,)) < 0.25), None, jax.random.split(key, 3))[1]

    assert np.mean(made(drawn).values) == 0.25

"""The functions of ``nth`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import nth
from jaxgrad.verify.cases._networks import mlp_jax, mlp_params
from tests.contract._example import Example


def of_numbers(x, params):
    return mlp_jax(params, x[..., None])[..., 0]


def of_point(x, params):
    return mlp_jax(params, x)[0]


def loss(params, x):
    return jnp.sum(mlp_jax(params, x) ** 2)


def fresh_of(fun):
    """Return a maker of closures over an array that compute the same as ``fun``."""

    def make(array):
        return lambda x, *data: fun(x, *data) + 0 * jnp.sum(array).astype(jax.tree.leaves(x)[0].dtype)

    return make


def numbers():
    return np.random.default_rng(0).normal(size=4), mlp_params((1, 4, 1), 0)


def point():
    return np.random.default_rng(0).normal(size=3), mlp_params((3, 4, 1), 0)


def parameters():
    return mlp_params((3, 4, 1), 0), mlp_params((3, 4, 1), 1), np.random.default_rng(0).normal(size=(4, 3))


def row(function, fun, inputs, *static, at=1, **options):
    """Return the row of a function that takes its static arguments after its first ``at`` inputs."""

    def bind(chosen):
        return lambda *given: function(chosen, *given[:at], *static, *given[at:])

    return Example(bind(fun), inputs, lambda array: bind(fresh_of(fun)(array)), **options)


ROWS = {
    "nth.derivatives": row(nth.derivatives, of_numbers, numbers, 3, sharded=0),
    "nth.derivative": row(nth.derivative, of_numbers, numbers, 3, sharded=0),
    "nth.directional": row(nth.directional, loss, parameters, 3, at=2, sharded=2),
    "nth.mixed_partial": row(nth.mixed_partial, of_point, point, (1, 0, 2)),
    "nth.laplacian": row(nth.laplacian, of_point, point),
    "nth.biharmonic": row(nth.biharmonic, of_point, point),
}

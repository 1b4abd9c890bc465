"""The functions of ``nth`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import nth
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract._example import Example

OF_POINTS = {"refuses": ("axis_name",), "reason": "a result belongs to one point, and to the function as it is given"}


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

    return Example(bind(fun), inputs, lambda array: bind(fresh_of(fun)(array)), **OF_POINTS, **options)


def field(x, params):
    return mlp_jax(params, x)


def square():
    return np.random.default_rng(0).normal(size=3), mlp_params((3, 4, 3), 0)


def diagonal():
    rng = np.random.default_rng(0)
    return rng.normal(size=3), rng.normal(size=3), mlp_params((3, 4, 1), 0)


def two_points():
    rng = np.random.default_rng(0)
    return rng.normal(size=3), rng.normal(size=(2, 3)), mlp_params((3, 4, 1), 0)


def jet_row():
    """The series are inputs too: three coefficients along the leading axis."""
    params = mlp_params((3, 4, 1), 0)

    def bind(fun):
        return lambda x, terms: nth.jet(fun, (x,), (list(terms),))

    def fresh(array):
        return bind(lambda x: of_point(x, params) + 0 * jnp.sum(array).astype(x.dtype))

    def of_leaf(x):
        return of_point(x, jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), params))

    return Example(bind(of_leaf), lambda: two_points()[:2], fresh, **OF_POINTS)


def probes_row():
    """The probes are an input, by keyword."""

    def bind(fun):
        return lambda x, probes, params: nth.stochastic_operator(fun, x, params, probes=probes)

    return Example(bind(of_point), two_points, lambda array: bind(fresh_of(of_point)(array)), **OF_POINTS)


def flow(x, params):
    """A field like its argument, of any dtype."""
    return jnp.tanh(mlp_jax(params, x))


ROWS = {
    "nth.all_mixed": row(nth.all_mixed, of_point, point, 2),
    "nth.biharmonic": row(nth.biharmonic, of_point, point),
    "nth.derivative": row(nth.derivative, of_numbers, numbers, 3, sharded=(0,)),
    "nth.derivatives": row(nth.derivatives, of_numbers, numbers, 3, sharded=(0,)),
    "nth.directional": row(nth.directional, loss, parameters, 3, at=2, sharded=(2,)),
    "nth.divergence": row(nth.divergence, field, square),
    "nth.stochastic_operator": probes_row(),
    "nth.jet": jet_row(),
    "nth.laplacian": row(nth.laplacian, of_point, point),
    "nth.mixed_partial": row(nth.mixed_partial, of_point, point, (1, 0, 2)),
    "nth.ode_series": row(nth.ode_series, flow, square, 3),
    "nth.second_derivatives": row(nth.second_derivatives, of_point, point),
    "nth.taylor_coefficients": row(nth.taylor_coefficients, loss, parameters, 3, at=2, sharded=(2,)),
    "nth.value_gradient_laplacian": row(nth.value_gradient_laplacian, of_point, point),
    "nth.weighted_laplacian": row(nth.weighted_laplacian, of_point, diagonal, at=2),
}

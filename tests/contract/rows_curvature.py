"""The functions of ``curvature`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import curvature
from jaxgrad.verify.cases.families._networks import mlp_params
from tests.contract._example import Example
from tests.problems import mean_square


def inputs():
    rng = np.random.default_rng(0)
    sizes = (3, 4, 2)
    return mlp_params(sizes, 0), mlp_params(sizes, 1), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def hvp(params, vector, x, y, **options):
    return curvature.hvp(mean_square, params, vector, x, y, **options)


def fresh_loss(array):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: mean_square(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def fresh_hvp(array):
    return lambda *inputs: curvature.hvp(fresh_loss(array), *inputs)


def dense_hessian(params, vector, x, y, **options):
    return curvature.dense_hessian(mean_square, params, x, y, **options)


def fresh_dense_hessian(array):
    return lambda params, vector, x, y: curvature.dense_hessian(fresh_loss(array), params, x, y)


def kfac(params, vector, x, y, **options):
    return curvature.kfac(mean_square, params, x, y, **options)


def fresh_kfac(array):
    return lambda params, vector, x, y: curvature.kfac(fresh_loss(array), params, x, y)


def ekfac(params, vector, x, y, **options):
    """The curvature at work: its eigenvectors have a sign, and more where eigenvalues are equal."""
    found = curvature.ekfac(mean_square, params, x, y, **options)
    return found.product(vector), found.inverse_product(vector, 0.5)


def fresh_ekfac(array):
    return lambda params, vector, x, y: curvature.ekfac(fresh_loss(array), params, x, y).product(vector)


def halved(tree):
    """Stand for the inverse of a curvature."""
    return jax.tree.map(lambda leaf: leaf / 2, tree)


def influence(params, vector, x, y, **options):
    return curvature.influence(mean_square, params, (x, y), (x, y), inverse=halved, **options)


def fresh_influence(array):
    loss = fresh_loss(array)
    return lambda params, vector, x, y: curvature.influence(loss, params, (x, y), (x, y), inverse=halved)


ROWS_OF_EXAMPLES = {
    "refuses": ("axis_name",),
    "reason": "the result belongs to the examples, each device's to its own",
}

ROWS = {
    "curvature.influence": Example(influence, inputs, fresh_influence, sharded=(2, 3), **ROWS_OF_EXAMPLES),
    "curvature.hvp": Example(hvp, inputs, fresh_hvp, sharded=(2, 3)),
    "curvature.dense_hessian": Example(dense_hessian, inputs, fresh_dense_hessian, sharded=(2, 3)),
    "curvature.kfac": Example(kfac, inputs, fresh_kfac, sharded=(2, 3)),
    "curvature.ekfac": Example(ekfac, inputs, fresh_ekfac, sharded=(2, 3)),
}

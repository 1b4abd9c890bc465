"""The functions of ``curvature`` in the table of transforms."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import curvature
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Diagonal:
    """Stands for a curvature: that of the factors has rows of its own."""

    values: Any

    def log_determinant(self, damping):
        return sum(jnp.sum(jnp.log(leaf**2 + damping)) for leaf in jax.tree.leaves(self.values))

    def inverse_square_root(self, vector, damping):
        return jax.tree.map(lambda v, leaf: v / jnp.sqrt(leaf**2 + damping.astype(leaf.dtype)), vector, self.values)


PRIOR = {"prior_precision": 8.0, "num_examples": 4}


def log_evidence(params, vector, x, y):
    """Of a loss that depends on the data."""
    return curvature.log_evidence(Diagonal(vector), params, mean_square(params, x, y), **PRIOR)


def fresh_log_evidence(array):
    loss = fresh_loss(array)
    # no static function, so every closure shares one program
    return lambda params, vector, x, y: curvature.log_evidence(Diagonal(vector), params, loss(params, x, y), **PRIOR)


def predictive_covariance(params, vector, x, y):
    return curvature.predictive_covariance(mlp_jax, params, Diagonal(vector), x, **PRIOR)


def fresh_predictive_covariance(array):
    def model(params, x):
        return mlp_jax(params, x) + jnp.sum(array).astype(x.dtype) * 0

    return lambda params, vector, x, y: curvature.predictive_covariance(model, params, Diagonal(vector), x, **PRIOR)


ROWS_OF_EXAMPLES = {
    "refuses": ("axis_name",),
    "reason": "the result belongs to the examples, each device's to its own",
}


def hessian(loss):
    """Return the product with the Hessian of a loss."""
    return functools.partial(curvature.hvp, loss)


def row(name, **options):
    """Return a row of a function that takes a product, with the vector in the place of a start or a right-hand side."""

    def bind(loss):
        def call(params, vector, x, y):
            return OF_A_PRODUCT[name](hessian(loss), params, vector, x, y)

        return call

    refuses = ("axis_name", *options.pop("refuses", ()))
    reason = "the product takes it" + options.pop("reason", "")
    call = bind(mean_square)
    return Example(
        call, inputs, lambda a: bind(fresh_loss(a)), sharded=(2, 3), refuses=refuses, reason=reason, **options
    )


def probes_of(vector):
    """Return four probes that depend on a vector, and are no longer than it."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf, leaf[::-1], jnp.roll(leaf, 1, 0)]), vector)


OF_A_PRODUCT = {
    "curvature.eigenpairs": lambda product, params, vector, *data: (
        curvature.eigenpairs(product, params, *data, k=2, start=vector).values
    ),
    "curvature.solve": lambda product, params, vector, *data: (
        curvature.solve(product, params, vector, *data, damping=3.0, tolerance=1e-13, max_products=30).solution
    ),
    "curvature.trace": lambda product, params, vector, *data: curvature.trace(
        product, params, *data, probes=probes_of(vector)
    ),
    "curvature.diagonal": lambda product, params, vector, *data: (
        curvature.diagonal(product, params, *data, probes=probes_of(vector)).estimate
    ),
    "curvature.spectral_density": lambda product, params, vector, *data: (
        curvature.spectral_density(
            product, params, *data, probes=probes_of(vector), grid=jnp.linspace(-2.0, 2.0, 5), bandwidth=1.0
        ).density
    ),
    "curvature.log_determinant": lambda product, params, vector, *data: (
        curvature.log_determinant(product, params, *data, damping=5.0, probes=probes_of(vector)).estimate
    ),
}
"""Calls of the functions that take a product."""

CONSTANT = {"refuses": ("grad", "jvp", "checkpoint"), "reason": "; its derivative is estimated, or none: see its tests"}

ROWS = {
    "curvature.eigenpairs": row("curvature.eigenpairs"),
    "curvature.solve": row("curvature.solve"),
    "curvature.trace": row("curvature.trace"),
    "curvature.diagonal": row("curvature.diagonal"),
    "curvature.spectral_density": row("curvature.spectral_density", **CONSTANT),
    "curvature.log_determinant": row("curvature.log_determinant", **CONSTANT),
    "curvature.log_evidence": Example(
        log_evidence,
        inputs,
        fresh_log_evidence,
        sharded=(2, 3),
        refuses=("axis_name",),
        reason="no examples are taken",
    ),
    "curvature.predictive_covariance": Example(
        predictive_covariance, inputs, fresh_predictive_covariance, sharded=(2, 3), **ROWS_OF_EXAMPLES
    ),
    "curvature.influence": Example(influence, inputs, fresh_influence, sharded=(2, 3), **ROWS_OF_EXAMPLES),
    "curvature.hvp": Example(hvp, inputs, fresh_hvp, sharded=(2, 3)),
    "curvature.dense_hessian": Example(dense_hessian, inputs, fresh_dense_hessian, sharded=(2, 3)),
    "curvature.kfac": Example(kfac, inputs, fresh_kfac, sharded=(2, 3)),
    "curvature.ekfac": Example(ekfac, inputs, fresh_ekfac, sharded=(2, 3)),
}

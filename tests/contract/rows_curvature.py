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
from tests.curvature.one_layer import bent_square
from tests.problems import mean_square


def inputs():
    rng = np.random.default_rng(0)
    sizes = (3, 4, 2)
    return mlp_params(sizes, 0), mlp_params(sizes, 1), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def one_layer_inputs():
    """Return inputs of the smallest network, for what costs much to compile."""
    rng = np.random.default_rng(0)
    return mlp_params((3, 2), 0), mlp_params((3, 2), 1), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def hvp(params, vector, x, y, **options):
    return curvature.hvp(mean_square, params, vector, x, y, **options)


def fresh_loss(array, loss=mean_square):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: loss(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def fresh_hvp(array):
    return lambda *inputs: curvature.hvp(fresh_loss(array), *inputs)


def dense_hessian(params, vector, x, y, **options):
    return curvature.dense_hessian(mean_square, params, x, y, **options)


def fresh_dense_hessian(array):
    return lambda params, vector, x, y: curvature.dense_hessian(fresh_loss(array), params, x, y)


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
    call, fresh = bind(bent_square), lambda array: bind(fresh_loss(array, bent_square))
    return Example(call, one_layer_inputs, fresh, sharded=(2, 3), refuses=refuses, reason=reason, **options)


def probes_of(vector):
    """Return four probes that depend on a vector, and are no longer than it."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf, leaf[::-1], jnp.roll(leaf, 1, 0)]), vector)


def product_squared(product, params, vector, *data):
    """Multiply twice: no eigenvalue is negative then."""
    return product(params, product(params, vector, *data), *data)


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
    "curvature.nystrom": lambda product, params, vector, *data: curvature.nystrom(
        functools.partial(product_squared, product), params, *data, probes=probes_of(vector)
    ).product(vector),
}
"""Calls of the functions that take a product."""


def row_space_solve(params, vector, x, y, **options):
    return curvature.row_space_solve(bent_square, params, vector, x, y, damping=1.0, **options).solution


def fresh_row_space_solve(array):
    loss = fresh_loss(array, bent_square)
    return lambda params, v, x, y: curvature.row_space_solve(loss, params, v, x, y, damping=1.0).solution


CONSTANT = {"refuses": ("grad", "jvp", "checkpoint"), "reason": "; its derivative is estimated, or none: see its tests"}


def fresh_model(array):
    """Return a network that is a new closure over an array."""
    return lambda params, x: mlp_jax(params, x) + jnp.sum(array).astype(x.dtype) * 0


SQUARED = {"output_loss": "squared_error"}
EMPIRICAL = {"output_loss": "squared_error", "kind": "empirical"}


def ggn_product(params, vector, x, y, **options):
    return curvature.ggn_product(mlp_jax, params, vector, x, y, **SQUARED, **options)


def fisher_product(params, vector, x, y, **options):
    return curvature.fisher_product(mlp_jax, params, vector, x, y, **EMPIRICAL, **options)


def mean_output(params, x):
    """Return the mean of the network's results."""
    return mlp_jax(params, x).mean(0)


def jacobian_product(params, vector, x, y, **options):
    return curvature.jacobian_product(mean_output, params, vector, x, **options)


def linearize(params, vector, x, y):
    return curvature.linearize(functools.partial(curvature.hvp, mean_square), params, x, y)(vector)


def over_two_batches(loss, params, vector, x, y, **options):
    """Two batches, of which the second weighs less."""
    product = functools.partial(curvature.hvp, curvature.weighted_loss(loss))
    batches = (jnp.stack([x, jnp.sin(x)]), jnp.stack([y, y]))
    weights = jnp.stack([jnp.ones_like(x[:, 0]), jnp.full_like(x[:, 0], 0.5)])
    return curvature.over_dataset(product, params, vector, batches, weights, **options)


def over_dataset(params, vector, x, y, **options):
    return over_two_batches(mean_square, params, vector, x, y, **options)


def of_a_model(function, **options):
    """Return ``fresh`` of a function whose first argument is a network."""
    return lambda array: lambda *inputs: function(fresh_model(array), *inputs, **options)


def fresh_jacobian_product(array):
    return lambda params, vector, x, y: curvature.jacobian_product(fresh_model(array), params, vector, x)


def fresh_linearize(array):
    return lambda params, vector, x, y: curvature.linearize(
        functools.partial(curvature.hvp, fresh_loss(array)), params, x, y
    )(vector)


def fresh_over_dataset(array):
    return lambda *inputs: over_two_batches(fresh_loss(array), *inputs)


def batch_inputs():
    params, _, x, y = inputs()
    return params, x, y


def kfac(params, x, y, **options):
    return curvature.kfac(mean_square, params, x, y, **options)


def fresh_kfac(array):
    return lambda params, x, y: curvature.kfac(fresh_loss(array), params, x, y)


def ekfac(params, x, y, **options):
    """The curvature at work: its eigenvectors have a sign, and more where eigenvalues are equal."""
    found = curvature.ekfac(mean_square, params, x, y, **options)
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), params)
    return found.product(ones), found.inverse_product(ones, 0.5)


def fresh_ekfac(array):
    return lambda params, x, y: curvature.ekfac(fresh_loss(array), params, x, y)


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


ROWS = {
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
    "curvature.influence": Example(influence, inputs, fresh_influence, sharded=(2, 3), along=-1),
    "curvature.eigenpairs": row("curvature.eigenpairs"),
    "curvature.solve": row("curvature.solve"),
    "curvature.nystrom": row("curvature.nystrom"),
    "curvature.trace": row("curvature.trace"),
    "curvature.diagonal": row("curvature.diagonal"),
    "curvature.spectral_density": row("curvature.spectral_density", **CONSTANT),
    "curvature.log_determinant": row("curvature.log_determinant", **CONSTANT),
    "curvature.row_space_solve": Example(row_space_solve, one_layer_inputs, fresh_row_space_solve, sharded=(2, 3)),
    "curvature.hvp": Example(hvp, inputs, fresh_hvp, sharded=(2, 3)),
    "curvature.dense_hessian": Example(dense_hessian, inputs, fresh_dense_hessian, sharded=(2, 3)),
    "curvature.ggn_product": Example(ggn_product, inputs, of_a_model(curvature.ggn_product, **SQUARED), sharded=(2, 3)),
    "curvature.fisher_product": Example(
        fisher_product, inputs, of_a_model(curvature.fisher_product, **EMPIRICAL), sharded=(2, 3)
    ),
    "curvature.jacobian_product": Example(jacobian_product, inputs, fresh_jacobian_product, sharded=(2, 3)),
    "curvature.linearize": Example(
        linearize,
        inputs,
        fresh_linearize,
        sharded=(2, 3),
        refuses=("axis_name",),
        reason="the product has it",
    ),
    "curvature.over_dataset": Example(over_dataset, inputs, fresh_over_dataset, sharded=(2, 3)),
    "curvature.kfac": Example(kfac, batch_inputs, fresh_kfac, sharded=(1, 2)),
    "curvature.ekfac": Example(ekfac, batch_inputs, fresh_ekfac, sharded=(1, 2)),
}

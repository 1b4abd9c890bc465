"""The functions of ``per_example`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import per_example
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract._example import Example
from tests.problems import mean_square


def inputs():
    rng = np.random.default_rng(0)
    sizes = (3, 4, 2)
    return mlp_params(sizes, 0), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def inputs_with_a_vector():
    params, x, y = inputs()
    return params, mlp_params((3, 4, 2), 1), x, y


def fresh_loss(array):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: mean_square(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def network(params, x, y):
    return mlp_jax(params, x) * y


def values(params, x, y):
    return per_example.values(network, params, x, y)


def fresh_values(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.values(loss, params, x, y)


def gradients(params, x, y):
    return per_example.gradients(mean_square, params, x, y)


def fresh_gradients(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.gradients(loss, params, x, y)


def norms(params, x, y):
    return per_example.norms(mean_square, params, x, y)


def fresh_norms(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.norms(loss, params, x, y)


def clipped_sum(params, x, y, **options):
    """The sum and what is one for the batch; tests/per_example/test_sharding.py has the rows too."""
    total, info = per_example.clipped_sum(mean_square, params, x, y, clip_norm=1.0, **options)
    return total, info.fraction_clipped, info.sensitivity


def fresh_clipped_sum(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.clipped_sum(loss, params, x, y, clip_norm=1.0)


def empirical_fisher(params, x, y, **options):
    return per_example.empirical_fisher(mean_square, params, x, y, **options)


def fresh_empirical_fisher(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.empirical_fisher(loss, params, x, y)


def empirical_fisher_product(params, vector, x, y, **options):
    return per_example.empirical_fisher_product(mean_square, params, vector, x, y, **options)


def fresh_empirical_fisher_product(array):
    loss = fresh_loss(array)
    return lambda params, vector, x, y: per_example.empirical_fisher_product(loss, params, vector, x, y)


def weighted_sum(params, x, y, **options):
    return per_example.weighted_sum(mean_square, params, x, y, weights=x[:, 0], **options)


def fresh_weighted_sum(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.weighted_sum(loss, params, x, y, weights=x[:, 0])


def gram(params, x, y):
    return per_example.gram(mean_square, params, x, y)


def fresh_gram(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.gram(loss, params, x, y)


def moments(params, x, y, **options):
    return per_example.moments(mean_square, params, x, y, **options)


def fresh_moments(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.moments(loss, params, x, y)


def noise_scale(params, x, y, **options):
    return per_example.noise_scale(mean_square, params, x, y, **options)


def fresh_noise_scale(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.noise_scale(loss, params, x, y)


def random_projection(params, x, y):
    return per_example.random_projection(mean_square, params, x, y, key=jax.random.key(0), dim=3)


def fresh_random_projection(array):
    loss = fresh_loss(array)
    return lambda params, x, y: per_example.random_projection(loss, params, x, y, key=jax.random.key(0), dim=3)


ROWS_OF_EXAMPLES = {
    "refuses": ("axis_name",),
    "reason": "the result belongs to the examples, each device's to its own",
}

ROWS = {
    "per_example.values": Example(values, inputs, fresh_values, sharded=(1, 2), **ROWS_OF_EXAMPLES),
    "per_example.gradients": Example(gradients, inputs, fresh_gradients, sharded=(1, 2), **ROWS_OF_EXAMPLES),
    "per_example.norms": Example(norms, inputs, fresh_norms, sharded=(1, 2), **ROWS_OF_EXAMPLES),
    "per_example.clipped_sum": Example(clipped_sum, inputs, fresh_clipped_sum, sharded=(1, 2)),
    "per_example.empirical_fisher": Example(empirical_fisher, inputs, fresh_empirical_fisher, sharded=(1, 2)),
    "per_example.empirical_fisher_product": Example(
        empirical_fisher_product, inputs_with_a_vector, fresh_empirical_fisher_product, sharded=(2, 3)
    ),
    "per_example.weighted_sum": Example(weighted_sum, inputs, fresh_weighted_sum, sharded=(1, 2)),
    "per_example.gram": Example(gram, inputs, fresh_gram, sharded=(1, 2), **ROWS_OF_EXAMPLES),
    "per_example.moments": Example(moments, inputs, fresh_moments, sharded=(1, 2)),
    "per_example.noise_scale": Example(noise_scale, inputs, fresh_noise_scale, sharded=(1, 2)),
    "per_example.random_projection": Example(
        random_projection, inputs, fresh_random_projection, sharded=(1, 2), **ROWS_OF_EXAMPLES
    ),
}

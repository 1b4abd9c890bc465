"""The functions of ``gradient`` in the table of transforms."""

import jax.numpy as jnp
import numpy as np

from jaxgrad import gradient
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract._example import Example
from tests.problems import mean_square

SIZES = (3, 4, 2)


def inputs():
    rng = np.random.default_rng(0)
    return mlp_params(SIZES, 0), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def with_vector():
    params, x, y = inputs()
    return params, mlp_params(SIZES, 1), x, y


def with_rate():
    return *inputs(), np.array(0.125)


def tree_and_limit():
    # far from every entry, so that finite differences do not cross a kink
    return mlp_params(SIZES, 0), np.array(0.484375)


def fresh_loss(array):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: mean_square(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def fresh_net(array):
    """Return a network that is a new closure over an array."""
    return lambda params, x: mean_net(params, x) + jnp.sum(array).astype(x.dtype) * 0


def mean_net(params, x):
    """Return the mean of the network's results."""
    return mlp_jax(params, x).mean(0)


def value_and_grad(params, x, y, **options):
    return gradient.value_and_grad(mean_square, params, x, y, **options)


def parameter_gradient(params, x, y, **options):
    return gradient.parameter_gradient(mean_square, params, x, y, **options)


def named_gradients(params, x, y, **options):
    return gradient.named_gradients(mean_square, params, x, y, **options)


def input_gradient(params, x, y, **options):
    return gradient.input_gradient(mean_square, params, x, y, **options)


def mixed_jacobian(params, x, y, **options):
    return gradient.mixed_jacobian(mean_square, params, x, y, **options)


def mixed_product(params, vector, x, y, **options):
    return gradient.mixed_product(mean_square, params, vector, x, y, **options)


def gradient_norm(params, x, y, **options):
    return gradient.gradient_norm(mean_square, params, x, y, **options)


def squared_norm_gradient(params, x, y, **options):
    return gradient.squared_norm_gradient(mean_square, params, x, y, **options)


def gradient_penalty(params, x, y, **options):
    return gradient.gradient_penalty(mean_square, params, x, y, **options)


def jacobian(params, x, y, **options):
    return gradient.jacobian(mean_net, params, x, **options)


def hessian(params, x, y, **options):
    return gradient.hessian(mean_net, params, x, **options)


def global_norm(tree, limit):
    return gradient.global_norm(tree)


def clip_by_value(tree, limit):
    return gradient.clip_by_value(tree, limit)


def clip_by_global_norm(tree, limit):
    return gradient.clip_by_global_norm(tree, limit)


def descent_step(params, x, y, rate, **options):
    return gradient.descent_step(mean_square, params, x, y, learning_rate=rate, **options)


def of_a_loss(function):
    """Return ``fresh`` of a public function whose first argument is a loss."""
    return lambda array: lambda *inputs: function(fresh_loss(array), *inputs)


def of_a_net(function):
    """Return ``fresh`` of a public function whose first argument is a network."""
    return lambda array: lambda params, x, y: function(fresh_net(array), params, x)


def fresh_step(array):
    return lambda params, x, y, rate: gradient.descent_step(fresh_loss(array), params, x, y, learning_rate=rate)


NO_BATCH = {"refuses": ("axis_name",), "reason": "there is no batch to take a mean over"}

ROWS = {
    "gradient.value_and_grad": Example(value_and_grad, inputs, of_a_loss(gradient.value_and_grad), sharded=(1, 2)),
    "gradient.parameter_gradient": Example(
        parameter_gradient, inputs, of_a_loss(gradient.parameter_gradient), sharded=(1, 2)
    ),
    "gradient.named_gradients": Example(named_gradients, inputs, of_a_loss(gradient.named_gradients), sharded=(1, 2)),
    "gradient.input_gradient": Example(
        input_gradient, inputs, of_a_loss(gradient.input_gradient), sharded=(1, 2), along=-2, differentiated=1
    ),
    "gradient.mixed_jacobian": Example(
        mixed_jacobian, inputs, of_a_loss(gradient.mixed_jacobian), sharded=(1, 2), along=-2
    ),
    "gradient.mixed_product": Example(
        mixed_product, with_vector, of_a_loss(gradient.mixed_product), sharded=(2, 3), along=-2
    ),
    "gradient.gradient_norm": Example(gradient_norm, inputs, of_a_loss(gradient.gradient_norm), sharded=(1, 2)),
    "gradient.squared_norm_gradient": Example(
        squared_norm_gradient, inputs, of_a_loss(gradient.squared_norm_gradient), sharded=(1, 2)
    ),
    "gradient.gradient_penalty": Example(
        gradient_penalty, inputs, of_a_loss(gradient.gradient_penalty), sharded=(1, 2)
    ),
    "gradient.jacobian": Example(jacobian, inputs, of_a_net(gradient.jacobian), sharded=(1, 2)),
    "gradient.hessian": Example(hessian, inputs, of_a_net(gradient.hessian), sharded=(1, 2)),
    # no static function, so every closure shares one program
    "gradient.global_norm": Example(global_norm, tree_and_limit, lambda array: global_norm, **NO_BATCH),
    "gradient.clip_by_value": Example(clip_by_value, tree_and_limit, lambda array: clip_by_value, **NO_BATCH),
    "gradient.clip_by_global_norm": Example(
        clip_by_global_norm, tree_and_limit, lambda array: clip_by_global_norm, **NO_BATCH
    ),
    "gradient.descent_step": Example(descent_step, with_rate, fresh_step, sharded=(1, 2)),
}

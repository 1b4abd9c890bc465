"""Lines with a mistake each: both checkers must refuse every line with the word, and no other."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgrad import curvature, gradient, meta, models, multi_loss, per_example, shift


class Weights(NamedTuple):
    w: jax.Array


def loss(params: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x @ params.w - y) ** 2)


def pair(params: Weights, x: jax.Array, y: jax.Array) -> tuple[jax.Array, str]:
    return loss(params, x, y), "seen"


weights = Weights(jnp.ones(3))
x, y = jnp.ones((4, 3)), jnp.ones((4,))

# arguments in the wrong places
gradient.parameter_gradient(weights, loss, x, y)  # refused
gradient.value_and_gradient(weights, loss, x, y)  # refused
shift.sam_gradient(weights, loss, x, y, radius=0.1)  # refused
curvature.hvp(weights, loss, weights, x, y)  # refused
gradient.parameter_gradient(loss, x, weights, y)  # refused
gradient.input_gradient(loss, x, weights, y)  # refused
shift.lookahead_gradient(loss, x, weights, y, learning_rate=0.1)  # refused

# too few, and too many
gradient.parameter_gradient(loss, weights, x)  # refused
gradient.parameter_gradient(loss, weights)  # refused
gradient.parameter_gradient(loss)  # refused
gradient.value_and_gradient(loss, weights, x, y, y)  # refused
gradient.descent_step(loss, weights, x, learning_rate=0.1)  # refused
gradient.descent_step(loss, weights, x, y)  # refused
gradient.gradient_norm(loss, weights, x)  # refused
gradient.mixed_product(loss, weights, weights, x)  # refused
shift.gradient(loss, weights, weights, x)  # refused
shift.sam_gradient(loss, weights, x, y)  # refused
shift.sam_gradient(loss, weights, x, radius=0.1)  # refused
shift.value_and_sam_gradient(loss, weights, x, y, y, radius=0.1)  # refused
shift.expected_gradient(loss, weights, weights, x)  # refused
curvature.hvp(loss, weights, weights, x)  # refused
curvature.hvp(loss, weights, x, y)  # refused
curvature.dense_hessian(loss, weights, x)  # refused

# words that there are not
curvature.hvp(loss, weights, weights, x, y, mode="reverse")  # refused
gradient.squared_norm_gradient(loss, weights, x, y, mode="forward")  # refused
gradient.jacobian(loss, weights, x, y, mode="forward-over-reverse")  # refused
shift.random_shifts(weights, key=jax.random.key(0), num_shifts=2, distribution="gauss")  # refused
shift.sam_gradient(loss, weights, x, y, rho=0.1)  # refused
gradient.parameter_gradient(loss, weights, x, y, wrt=0)  # refused
gradient.descent_step(loss, weights, x, y, learning_rate="fast")  # refused
gradient.clip_by_global_norm(weights, None)  # refused

# an aux without has_aux, and has_aux without an aux
gradient.parameter_gradient(pair, weights, x, y)  # refused
gradient.parameter_gradient(loss, weights, x, y, has_aux=True)  # refused
shift.sam_gradient(pair, weights, x, y, radius=0.1)  # refused
curvature.hvp(loss, weights, weights, x, y, has_aux=True)  # refused

# results taken for what they are not
one: jax.Array = gradient.parameter_gradient(loss, weights, x, y)  # refused
two: Weights = gradient.value_and_gradient(loss, weights, x, y)  # refused
three: Weights = gradient.parameter_gradient(pair, weights, x, y, has_aux=True)  # refused
four: Weights = curvature.dense_hessian(loss, weights, x, y)  # refused
gradient.parameter_gradient(loss, weights, x, y)["w"]  # refused
five = curvature.hvp(loss, weights, weights, x, y).kernel  # refused
gradient.parameter_gradient(pair, weights, x, y, has_aux=True)[1].mean()  # refused
six = gradient.clip_by_global_norm(weights, 1.0).w  # refused
seven = shift.value_and_sam_gradient(loss, weights, x, y, radius=0.1).w  # refused

# what is no module
models.from_linen(loss, x, key=jax.random.key(0))  # refused
models.from_nnx(loss)  # refused

# of one example, of several losses, of tasks
sgd = optax.sgd(0.1)
tasks = (x[None], y[None])
per_example.gradients(weights, loss, x, y)  # refused
per_example.gradients(loss, weights, x)  # refused
per_example.gradients(loss, weights, x, y, has_aux=True)  # refused
per_example.gradients(pair, weights, x, y)  # refused
per_example.norms(loss, x, weights, y)  # refused
per_example.norms(loss, weights, x, y, mode="fast")  # refused
per_example.clipped_sum(loss, weights, x, y)  # refused
per_example.clipped_sum(pair, weights, x, y, clip_norm=1.0)  # refused
per_example.weighted_sum(loss, weights, x, weights=y)  # refused
per_example.moments(loss, weights, x, y, y)  # refused
per_example.noise_scale(loss, weights, x, y, microbatch="all")  # refused
per_example.gram(loss, weights, x, y, other=x)  # refused
per_example.project(loss, weights, x, y, key=jax.random.key(0))  # refused
per_example.empirical_fisher(loss, weights)  # refused
per_example.empirical_fisher_product(loss, weights, x, y)  # refused
per_example.values(loss, x, weights, y)  # refused
multi_loss.gradients(weights, loss, x, y)  # refused
multi_loss.gradients(loss, weights, x)  # refused
multi_loss.losses_and_gradients(loss, weights, x, y, has_aux=True)  # refused
multi_loss.retained_updates(loss, weights, (), x, y)  # refused
meta.adapt(weights, loss, (x, y), optimizer=sgd, num_steps=1)  # refused
meta.adapt(loss, weights, (x, y), optimizer=sgd)  # refused
meta.maml_gradient(loss, x, weights, tasks, optimizer=sgd, num_steps=1)  # refused
meta.maml_value_and_gradient(loss, weights, tasks, optimizer=sgd, num_steps=1)  # refused
meta.first_order_gradient(loss, weights, tasks, tasks, optimizer=sgd, num_steps=1, has_aux=True)  # refused
meta.step_gradient(loss, weights, x, optimizer=sgd)  # refused

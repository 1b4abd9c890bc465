"""Lines with a mistake each: both checkers must refuse every line with the word, and no other."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import curvature, gradient, inr, meta, models, multi_loss, nth, per_example, shift


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
gradient.value_and_grad(weights, loss, x, y)  # refused
shift.sam_gradient(weights, loss, x, y, radius=0.1)  # refused
curvature.hvp(weights, loss, weights, x, y)  # refused
gradient.parameter_gradient(loss, x, weights, y)  # refused
gradient.input_gradient(loss, x, weights, y)  # refused
shift.extragradient(loss, x, weights, y, learning_rate=0.1)  # refused

# too few, and too many
gradient.parameter_gradient(loss, weights, x)  # refused
gradient.parameter_gradient(loss, weights)  # refused
gradient.parameter_gradient(loss)  # refused
gradient.value_and_grad(loss, weights, x, y, y)  # refused
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
shift.sam_gradient(loss, weights, x, y, radius=0.1, state="both")  # refused
shift.looksam_gradient(loss, weights, weights, x, y, radius=0.1)  # refused
shift.score_function_gradient(loss, weights, None, x, y, scale=0.1, baseline="mean")  # refused
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
two: Weights = gradient.value_and_grad(loss, weights, x, y)  # refused
three: Weights = gradient.parameter_gradient(pair, weights, x, y, has_aux=True)  # refused
four: Weights = curvature.dense_hessian(loss, weights, x, y)  # refused
gradient.parameter_gradient(loss, weights, x, y)["w"]  # refused
five = curvature.hvp(loss, weights, weights, x, y).kernel  # refused
of_evolution = shift.evolution_gradient(loss, weights, None, x, y, scale=0.1).standard_error  # refused
gradient.parameter_gradient(pair, weights, x, y, has_aux=True)[1].mean()  # refused
six = gradient.clip_by_global_norm(weights, 1.0).w  # refused
seven = shift.value_and_sam_gradient(loss, weights, x, y, radius=0.1).w  # refused


# functions of points


def wave(t: jax.Array) -> jax.Array:
    return jnp.sin(t)


def of_point(point: jax.Array, weights: Weights) -> Weights:
    return Weights(jnp.sum(point) * weights.w)


def forced(t: jax.Array, state: Weights) -> Weights:
    return Weights(t * state.w)


def siren(weights: Weights, points: jax.Array) -> jax.Array:
    return inr.sine(points @ weights.w)


nth.derivatives(x, wave, 3)  # refused
nth.derivatives(wave, x)  # refused
nth.derivatives(wave, weights, 3)  # refused
nth.derivatives(wave, x, 3.0)  # refused
nth.derivatives(of_point, x, 3)  # refused
nth.derivative(of_point, 1.0, weights, 3)  # refused
nth.derivative(wave, 1.0, 3, weights)  # refused
nth.derivative(forced, 1.0, 3)  # refused
nth.directional(loss, weights, 3, x, y)  # refused
nth.directional(loss, weights, x, 3, x, y)  # refused
nth.directional(loss, x, x, 3, x, y)  # refused
nth.directional(loss, weights, weights, 3, x)  # refused
nth.directional(wave, 1.0, 1.0)  # refused
nth.taylor_coefficients(wave, weights, weights, 3)  # refused
nth.taylor_coefficients(weights, loss, weights, 3, x, y)  # refused
nth.jet((x,), wave, ([x],))  # refused
nth.jet(wave, x, ([x],))  # refused
nth.jet(wave, (x, x), ([x], [x]))  # refused
nth.jet(loss, (weights,), ([weights],))  # refused
nth.jet(wave, (x,), x)  # refused
nth.register_rule("neg", wave)  # refused
nth.laplacian(x, wave)  # refused
nth.laplacian(of_point, x)  # refused
nth.laplacian(of_point, x, x)  # refused
nth.laplacian(of_point, weights, weights)  # refused
nth.laplacian(wave, x, chunk="all")  # refused
nth.biharmonic(of_point, x, weights, weights)  # refused
nth.value_gradient_laplacian(wave, x, weights)  # refused
nth.weighted_laplacian(wave, x)  # refused
nth.weighted_laplacian(of_point, x, weights, y)  # refused
nth.second_derivatives(of_point, x)  # refused
nth.divergence(of_point, x, weights)  # refused
nth.divergence(wave, [1.0, 2.0])  # refused
nth.mixed_partial(wave, x, 2)  # refused
nth.mixed_partial(of_point, x, (1, 2))  # refused
nth.all_mixed(wave, x, (1, 2))  # refused
nth.all_mixed(of_point, x, 2)  # refused
nth.stochastic_operator(wave, x, key=jax.random.key(0), operator="trace")  # refused
nth.stochastic_operator(of_point, x, key=jax.random.key(0))  # refused
nth.stochastic_operator(wave, x, probes="many")  # refused
nth.ode_series(forced, weights, 3)  # refused
nth.ode_series(wave, weights, 3)  # refused
nth.ode_series(forced, x, 3, t=0.5)  # refused
nth.ode_series(wave, x, 3, t=0.5)  # refused
inr.coordinate_derivatives(siren, x, weights)  # refused
inr.coordinate_derivatives(weights, siren, x)  # refused
inr.coordinate_derivatives(loss, weights, x)  # refused
inr.coordinate_derivatives(siren, weights, x, second="third")  # refused
inr.value_loss(siren, weights, x)  # refused
inr.value_loss(siren, x, weights, y)  # refused
inr.gradient_loss(of_point, x, weights, y)  # refused
inr.gradient_loss(siren, weights, x, y, x)  # refused
inr.image_targets(x, method="scharr")  # refused
inr.image_targets([[0.0, 1.0]])  # refused
inr.laplacian_loss(siren, weights, x)  # refused
inr.eikonal_loss(siren, weights, x, y)  # refused
inr.combined_loss(siren, weights, x, y)  # refused
inr.targets_at(x, x, method="sobel")  # refused
inr.refined_targets(x, factor=1.5)  # refused
inr.sample_points(jax.random.key(0), 8, method="halton", shape=(4, 3))  # refused
inr.sample_by_error(jax.random.key(0), x)  # refused
inr.ceiling(x, shape=(4, 3))  # refused
inr.psnr(x)  # refused
inr.psnr(x, x, align="median")  # refused
inr.sine(weights)  # refused
inr.sine_cosine(weights)  # refused
eight: Weights = nth.derivatives(wave, 0.5, 3)  # refused
nine: jax.Array = nth.laplacian(of_point, x, weights)  # refused
ten = nth.value_gradient_laplacian(wave, np.ones(3)).laplacian  # refused
eleven: Weights = nth.stochastic_operator(of_point, x, weights, probes=x)  # refused
twelve: jax.Array = nth.ode_series(forced, weights, 3, t=0.5)  # refused
thirteen = inr.image_targets(x).colours  # refused
fourteen: jax.Array = inr.coordinate_derivatives(siren, weights, x).laplacian  # refused

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
per_example.random_projection(loss, weights, x, y, key=jax.random.key(0))  # refused
per_example.empirical_fisher(loss, weights)  # refused
per_example.empirical_fisher_product(loss, weights, x, y)  # refused
per_example.values(loss, x, weights, y)  # refused
multi_loss.gradients(weights, loss, x, y)  # refused
multi_loss.gradients(loss, weights, x)  # refused
multi_loss.losses_and_gradients(loss, weights, x, y, has_aux=True)  # refused
multi_loss.simultaneous_updates(loss, weights, (), x, y)  # refused
meta.adapt(weights, loss, (x, y), optimizer=sgd, num_steps=1)  # refused
meta.adapt(loss, weights, (x, y), optimizer=sgd)  # refused
meta.maml_gradient(loss, x, weights, tasks, optimizer=sgd, num_steps=1)  # refused
meta.value_and_maml_gradient(loss, weights, tasks, optimizer=sgd, num_steps=1)  # refused
meta.first_order_gradient(loss, weights, tasks, tasks, optimizer=sgd, num_steps=1, has_aux=True)  # refused
meta.implicit_gradient(loss, weights, tasks, tasks, optimizer=sgd, num_steps=1)  # refused
meta.step_gradient(loss, weights, x, optimizer=sgd)  # refused
meta.data_weights_gradient(weights, loss, (x, y), x, (x, y), optimizer=sgd)  # refused
meta.smoothness(loss, weights, (x, y), x, optimizer=sgd)  # refused

# no name but those that are there, and no old words
shift.lookback_gradient(loss, weights, x, y, learning_rate=0.1)  # refused
shift.lookahead_gradient(loss, x, weights, y, learning_rate=0.1)  # refused
per_example.norms(loss, weights, x, y, mode="materialise")  # refused

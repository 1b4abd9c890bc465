"""Lines as people write them: both checkers must take every one, and infer what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.core import FrozenDict
from jax.extend.core.primitives import neg_p

import jaxgrad
from jaxgrad import curvature, gradient, inr, meta, models, multi_loss, nth, per_example, shift

Dict = dict[str, jax.Array]

x, y = jnp.ones((4, 3)), jnp.ones((4,))


# a dictionary, and a loss with types


def loss(params: Dict, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x @ params["w"] - y) ** 2)


params = {"w": jnp.ones((3,))}
sgd = optax.sgd(0.1)

assert_type(gradient.parameter_gradient(loss, params, x, y), Dict)
assert_type(gradient.parameter_gradient(loss, params, x, y, wrt="w"), Dict)
assert_type(gradient.parameter_gradient(loss, params, x, y, wrt=["w", "b"], axis_name=("data", "model")), Dict)
assert_type(gradient.parameter_gradient(loss, params, x, y, wrt=lambda path, leaf: leaf.ndim > 1), Dict)
assert_type(gradient.value_and_grad(loss, params, x, y), tuple[jax.Array, Dict])
assert_type(gradient.descent_step(loss, params, x, y, learning_rate=0.1), Dict)
assert_type(gradient.descent_step(loss, params, x, y, learning_rate=jnp.array(0.1)), Dict)
assert_type(gradient.gradient_norm(loss, params, x, y), jax.Array)
assert_type(gradient.squared_norm_gradient(loss, params, x, y), tuple[jax.Array, Dict])
assert_type(gradient.input_gradient(loss, params, x, y), jax.Array)
assert_type(gradient.mixed_product(loss, params, params, x, y, mode="reverse-over-reverse"), jax.Array)
assert_type(gradient.gradient_penalty(loss, params, x, y, target=None), jax.Array)
assert_type(gradient.clip_by_global_norm(params, 1.0), tuple[Dict, jax.Array])
assert_type(gradient.clip_by_value(params, 1), Dict)
gradient.mixed_jacobian(loss, params, x, y, mode="forward")
gradient.named_gradients(loss, params, x, y)["w"].sum()
assert_type(shift.gradient(loss, params, {"w": jnp.zeros(3)}, x, y), Dict)
assert_type(shift.value_and_grad(loss, params, {}, x, y), tuple[jax.Array, Dict])
assert_type(shift.sam_gradient(loss, params, x, y, radius=0.05, adaptive=True), Dict)
assert_type(shift.value_and_sam_gradient(loss, params, x, y, radius=0.05), tuple[jax.Array, Dict])
assert_type(shift.sam_gradient(loss, params, x, y, radius=0.05, exact=True, groups=2, batched=(0, 1)), Dict)
assert_type(shift.gradient(loss, params, {"w": jnp.zeros(3)}, x, y, scale=0.1, state="moved"), Dict)
assert_type(shift.fisher_sam_gradient(loss, params, params, x, y, radius=0.05), Dict)
look = shift.looksam_init(params)
assert_type(look, shift.LookSAMState[Dict])
assert_type(shift.looksam_gradient(loss, params, look, x, y, radius=0.05), tuple[Dict, shift.LookSAMState[Dict]])
trace = shift.msam_init(params)
assert_type(shift.msam_gradient(loss, params, trace, x, y, radius=0.05), tuple[Dict, shift.MSAMState[Dict]])
assert_type(shift.sam_transform(sgd, radius=0.05), optax.GradientTransformationExtraArgs)
assert_type(shift.extragradient(loss, params, x, y, learning_rate=0.1), Dict)
assert_type(shift.value_and_extragradient(loss, params, x, y, learning_rate=0.1), tuple[jax.Array, Dict])
shifts = shift.random_shifts(params, key=jax.random.key(0), num_shifts=4, distribution="uniform")
assert_type(shifts, Dict)
assert_type(shift.expected_gradient(loss, params, shifts, x, y, unroll=True), Dict)
assert_type(shift.expected_gradient(loss, params, shifts, x, y, full_output=True), shift.Estimate[Dict])
assert_type(shift.evolution_gradient(loss, params, shifts, x, y, scale=0.1), Dict)
assert_type(shift.evolution_gradient(loss, params, None, x, y, scale=0.1, full_output=True), shift.Estimate[Dict])
assert_type(shift.score_function_gradient(loss, params, shifts, x, y, scale=0.1, baseline="clean"), Dict)
assert_type(shift.score_function_gradient(loss, params, shifts, x, y, scale=0.1, full_output=True).gradient, Dict)
assert_type(curvature.hvp(loss, params, params, x, y, mode="forward-over-reverse"), Dict)
assert_type(curvature.dense_hessian(loss, params, x, y, chunk=2), jax.Array)
assert_type(curvature.influence(loss, params, (x, y), (x, y), damping=0.1), jax.Array)
assert_type(curvature.kfac(loss, params, x, y), curvature.KroneckerFactors)
assert_type(curvature.ekfac(loss, params, x, y, approximation="reduce"), curvature.KroneckerEigen)
assert_type(curvature.kfac(loss, params, x, y).product(params), Dict)


# what a loss returns beside its value


class Report(NamedTuple):
    logits: jax.Array
    correct: jax.Array


def reporting(params: Dict, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Report]:
    logits = x @ params["w"]
    return jnp.mean((logits - y) ** 2), Report(logits, logits > y)


assert_type(gradient.parameter_gradient(reporting, params, x, y, has_aux=True), tuple[Dict, Report])
assert_type(gradient.parameter_gradient(loss, params, x, y, has_aux=False), Dict)
(value, report), slope = gradient.value_and_grad(reporting, params, x, y, has_aux=True)
assert_type(value, jax.Array)
assert_type(report.logits, jax.Array)
assert_type(slope, Dict)
assert_type(gradient.descent_step(reporting, params, x, y, has_aux=True, learning_rate=0.1), tuple[Dict, Report])
assert_type(gradient.gradient_norm(reporting, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(
    gradient.squared_norm_gradient(reporting, params, x, y, has_aux=True), tuple[tuple[jax.Array, Dict], Report]
)
assert_type(gradient.input_gradient(reporting, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(gradient.gradient_penalty(reporting, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(shift.sam_gradient(reporting, params, x, y, has_aux=True, radius=0.05), tuple[Dict, Report])
assert_type(
    shift.value_and_sam_gradient(reporting, params, x, y, has_aux=True, radius=0.05),
    tuple[tuple[jax.Array, Report], Dict],
)
assert_type(shift.expected_gradient(reporting, params, shifts, x, y, has_aux=True), tuple[Dict, Report])
assert_type(
    shift.evolution_gradient(reporting, params, shifts, x, y, scale=0.1, has_aux=True, full_output=True),
    tuple[shift.Estimate[Dict], Report],
)
assert_type(
    shift.score_function_gradient(reporting, params, shifts, x, y, scale=0.1, has_aux=True), tuple[Dict, Report]
)
assert_type(curvature.hvp(reporting, params, slope, x, y, has_aux=True), tuple[Dict, Report])
assert_type(curvature.dense_hessian(reporting, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(curvature.kfac(reporting, params, x, y, has_aux=True), tuple[curvature.KroneckerFactors, Report])


# parameters of other kinds: what comes back has the same attributes


class Weights(NamedTuple):
    w: jax.Array
    b: jax.Array


def of_tuple(params: Weights, x: jax.Array) -> jax.Array:
    return jnp.sum(x @ params.w + params.b)


weights = Weights(jnp.ones(3), jnp.array(0.0))
assert_type(gradient.parameter_gradient(of_tuple, weights, x), Weights)
curvature.hvp(of_tuple, weights, weights, x).b.sum()
gradient.clip_by_value(weights, 1.0).w.sum()


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    w: jax.Array


def of_dataclass(params: Layer, x: jax.Array) -> jax.Array:
    return jnp.sum(x @ params.w)


assert_type(gradient.parameter_gradient(of_dataclass, Layer(jnp.ones(3)), x), Layer)
shift.sam_gradient(of_dataclass, Layer(jnp.ones(3)), x, radius=0.1).w.sum()


def of_frozen(params: FrozenDict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.dot(x, jnp.asarray(params["w"])))


frozen: FrozenDict[str, jax.Array] = FrozenDict({"w": jnp.ones(3)})
assert_type(gradient.parameter_gradient(of_frozen, frozen, x), FrozenDict[str, jax.Array])


def of_array(w: jax.Array) -> jax.Array:
    return jnp.sum(w**2)


assert_type(curvature.hvp(of_array, jnp.ones(3), jnp.ones(3)), jax.Array)
assert_type(gradient.parameter_gradient(of_array, params=jnp.ones(3)), jax.Array)


# losses of other kinds


def untyped(params, x, y):
    return jnp.mean((x @ params["w"] - y) ** 2)


def untyped_reporting(params, x, y):
    return untyped(params, x, y), {"residual": x @ params["w"] - y}


def of_mapping(params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.sum(x @ params["w"])


def of_anything(params: Any, *data: Any) -> Any:
    return untyped(params, *data)


class Objective:
    scale: float = 2.0

    def loss(self, params: Dict, x: jax.Array, y: jax.Array) -> jax.Array:
        return self.scale * loss(params, x, y)

    def __call__(self, params: Dict, x: jax.Array) -> jax.Array:
        return self.scale * jnp.sum(x @ params["w"])


def scaled(params: Dict, x: jax.Array, y: jax.Array, *, scale: float = 2.0) -> jax.Array:
    return scale * loss(params, x, y)


assert_type(gradient.parameter_gradient(untyped, params, x, y), Dict)
gradient.parameter_gradient(untyped_reporting, params, x, y, has_aux=True)[1]["residual"].sum()
gradient.parameter_gradient(of_mapping, params, x)["w"].sum()
assert_type(gradient.parameter_gradient(of_anything, params, x, y), Dict)
assert_type(gradient.parameter_gradient(Objective().loss, params, x, y), Dict)
assert_type(gradient.parameter_gradient(Objective(), params, x), Dict)
assert_type(gradient.parameter_gradient(scaled, params, x, y), Dict)
assert_type(gradient.parameter_gradient(partial(scaled, scale=3.0), params, x, y), Dict)
assert_type(gradient.parameter_gradient(lambda p: jnp.sum(p["w"]), params), Dict)
assert_type(gradient.parameter_gradient(jax.jit(loss), params, x, y), Dict)
batch = (x, y)
assert_type(gradient.parameter_gradient(loss, params, *batch), Dict)


def with_words(params: Dict, batch: dict[str, jax.Array], step: int) -> jax.Array:
    return loss(params, batch["x"], batch["y"]) * step


assert_type(shift.sam_gradient(with_words, params, {"x": x, "y": y}, 3, radius=0.1), Dict)


def with_a_default(params: Dict, x: jax.Array, y: jax.Array, scale: float = 1.0) -> jax.Array:
    return scale * loss(params, x, y)


def of_all_data(params: Dict, *data: jax.Array) -> jax.Array:
    return loss(params, data[0], data[1])


assert_type(gradient.parameter_gradient(with_a_default, params, x, y), Dict)
assert_type(gradient.parameter_gradient(with_a_default, params, x, y, 2.0), Dict)
assert_type(gradient.parameter_gradient(of_all_data, params, x, y), Dict)

P = TypeVar("P")


def of_any_loss(any_loss: Callable[..., jax.Array], any_pair: Callable[..., tuple[jax.Array, Report]]) -> None:
    assert_type(shift.sam_gradient(any_loss, params, x, y, radius=0.1), Dict)
    assert_type(gradient.input_gradient(any_loss, params, x, y), jax.Array)
    assert_type(gradient.parameter_gradient(any_pair, params, x, y, has_aux=True), tuple[Dict, Report])
    assert_type(per_example.norms(any_loss, params, x, y), jax.Array)
    assert_type(per_example.gradients(any_pair, params, x, y, has_aux=True), tuple[Dict, Report])
    assert_type(multi_loss.losses_and_gradients(any_loss, params, x, y), tuple[jax.Array, Dict])
    assert_type(meta.step_gradient(any_pair, params, x, y, optimizer=sgd, has_aux=True), tuple[Dict, Report])
    assert_type(meta.adapt(any_loss, params, x, optimizer=sgd, num_steps=1), Dict)


def of_any_params(own_loss: Callable[[P, jax.Array], jax.Array], params: P) -> P:
    return shift.sam_gradient(own_loss, params, x, radius=0.1)


# functions of one number: what is given may be a number, a NumPy array or one of JAX, and the function sees the last


def wave(t: jax.Array) -> jax.Array:
    return jnp.sin(t)


def damped(t: jax.Array, params: Dict, rate: jax.Array) -> jax.Array:
    return params["w"] * jnp.exp(-rate * t)


def parts(t: jax.Array) -> Dict:
    return {"sine": jnp.sin(t), "square": t**2}


assert_type(nth.derivatives(wave, -2.0, 4), jax.Array)
assert_type(nth.derivatives(wave, np.linspace(0.0, 1.0, 5), 4, max_order=40), jax.Array)
assert_type(nth.derivatives(wave, jnp.array(1j), order=2), jax.Array)
assert_type(nth.derivatives(damped, 0.5, 2, params, y), jax.Array)
assert_type(nth.derivatives(parts, np.float32(2.0), 2), Dict)
assert_type(nth.derivatives(lambda t: {"cube": 2 * t**3}, -2.0, 4), Dict)
assert_type(nth.derivative(wave, 0.0, 3), jax.Array)
assert_type(nth.derivative(damped, x[0, 0], 3, params, y), jax.Array)
nth.derivative(jnp.sin, 0.0, 3).item()
nth.derivative(jax.jit(wave), 0.0, 3).item()


# a line through a point that is a tree, an array or a number


def of_pair(point: Weights) -> tuple[jax.Array, Dict]:
    return jnp.sum(point.w), {"b": point.b**3}


def power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    return base**exponent


assert_type(nth.directional(loss, params, params, 3, x, y), jax.Array)
assert_type(nth.directional(of_pair, weights, weights, order=2), tuple[jax.Array, Dict])
assert_type(nth.directional(of_array, x, x, 2), jax.Array)
assert_type(nth.directional(wave, 0.5, 1.0, 2), jax.Array)
assert_type(nth.directional(wave, np.ones(3), jnp.ones(3), 2), jax.Array)
assert_type(nth.directional(lambda point: jnp.sum(point["w"]), params, params, 1), jax.Array)
nth.directional(lambda t: t**2, 0.5, 1.0, 2).item()
nth.directional(untyped, params, params, 2, x, y).item()
nth.directional(jnp.sin, 0.5, 1.0, 2).item()
assert_type(nth.taylor_coefficients(loss, params, params, 3, x, y), jax.Array)
assert_type(nth.taylor_coefficients(parts, 0.5, 1.0, 3, max_order=50), Dict)
assert_type(nth.jet(wave, (0.5,), ((1.0, 0.0),))[0], jax.Array)
assert_type(nth.jet(power, (2.0, np.array(3.0)), [[1.0], [None]], factorial_scaled=False)[0], jax.Array)
assert_type(nth.jet(loss, (params, x, y), ([params], [None], [None]))[0], jax.Array)
assert_type(nth.jet(power, [x, 2.0], [[x], [None]])[0], jax.Array)
assert_type(nth.jet(lambda point: parts(point["w"]), (params,), ([params],))[0], Dict)
value, (first, second) = nth.jet(jnp.sin, (x,), [[x, x]])
nth.register_rule(neg_p, lambda x: tuple(None if c is None else -c for c in x))


# functions of a vector


def bowl(point: jax.Array) -> jax.Array:
    return jnp.sum(point**2)


def of_point(point: jax.Array, params: Dict) -> Dict:
    return {"linear": point @ params["w"], "square": bowl(point)}


def swirl(point: jax.Array, rate: float) -> jax.Array:
    return rate * jnp.stack([point[1], -point[0]])


point = jnp.array([1.0, 2.0, 3.0])
assert_type(nth.laplacian(bowl, point), jax.Array)
assert_type(nth.laplacian(bowl, np.ones(3)), jax.Array)
assert_type(nth.laplacian(of_point, point, params, chunk=2), Dict)
assert_type(nth.laplacian(lambda point: point[0] ** 2 * point[1], point), jax.Array)
assert_type(jax.vmap(lambda point: nth.biharmonic(of_point, point, params))(x), Dict)
assert_type(nth.biharmonic(bowl, point), jax.Array)
assert_type(nth.value_gradient_laplacian(bowl, point), tuple[jax.Array, jax.Array, jax.Array])
assert_type(nth.value_gradient_laplacian(of_point, point, params), tuple[Dict, Dict, Dict])
assert_type(nth.weighted_laplacian(bowl, point, np.ones(3)), jax.Array)
assert_type(nth.weighted_laplacian(of_point, point, jnp.ones((3, 2)), params, factored=True), Dict)
assert_type(nth.second_derivatives(of_point, point, params), Dict)
assert_type(nth.divergence(swirl, point[:2], 2.0), jax.Array)
assert_type(nth.divergence(jax.grad(bowl), np.ones(3)), jax.Array)
assert_type(nth.mixed_partial(bowl, point, (1, 0, 2)), jax.Array)
assert_type(nth.mixed_partial(of_point, point, [1, 0, 0], params), Dict)
assert_type(nth.all_mixed(of_point, point, 2, params, max_directions=100), Dict)
assert_type(nth.stochastic_operator(bowl, point, key=jax.random.key(0)), tuple[jax.Array, jax.Array])
assert_type(nth.stochastic_operator(of_point, point, params, operator="diagonal", order=3, probes=x), tuple[Dict, Dict])


# the flow of a differential equation


def growth(state: jax.Array) -> jax.Array:
    return state * (1 - state)


def forced(t: float, state: Weights, rate: jax.Array) -> Weights:
    return Weights(rate * state.w, jnp.sin(t) * state.b)


def decay(state: Dict, rate: float) -> Dict:
    return {"w": -rate * state["w"]}


assert_type(nth.ode_series(growth, 0.5, 3), jax.Array)
assert_type(nth.ode_series(growth, point, order=3, factorial_scaled=False), jax.Array)
assert_type(nth.ode_series(decay, params, 3, 0.1), Dict)
assert_type(nth.ode_series(forced, weights, 3, y, t=0.6), Weights)
nth.ode_series(lambda t, state: t * state, 1.0, 3, t=jnp.array(0.6)).sum()
assert_type(nth.ode_series(power, 1.0, 3, t=0.6), jax.Array)
assert_type(nth.ode_series(lambda state: {"w": -state["w"]}, params, 3), Dict)


# networks as fields


def siren(params: Dict, points: jax.Array) -> jax.Array:
    return inr.sine(points @ params["w"])


targets = inr.image_targets(np.ones((4, 3, 1), np.float32), method="sobel", channels=1)
assert_type(targets, inr.ImageTargets)
found = inr.coordinate_derivatives(siren, params, targets.points, second="laplacian")
assert_type(found, inr.CoordinateDerivatives[jax.Array, None])
assert_type(found.jacobian, jax.Array)
assert_type(found.laplacian, jax.Array)
assert_type(inr.coordinate_derivatives(siren, params, targets.points, second="hessian").hessian, jax.Array)
inr.coordinate_derivatives(lambda params, p: p @ params["w"], params, np.ones((4, 2))).values.sum()
assert_type(inr.targets_at(np.ones((4, 3)), targets.points, method="spline", chunk=8).laplacians, jax.Array)
assert_type(inr.refined_targets(np.ones((4, 3)), factor=2), inr.ImageTargets)
drawn = inr.sample_points(jax.random.key(0), 8, method="quasi", shape=(4, 3), dtype=np.float32)
assert_type(drawn, jax.Array)
assert_type(inr.sample_by_error(jax.random.key(0), np.ones(12), 4, uniform=0.1), tuple[jax.Array, jax.Array])
assert_type(inr.ceiling(targets, shape=(4, 3), match="laplacian"), jax.Array)
assert_type(inr.value_loss(siren, params, targets.points, targets.values), jax.Array)
assert_type(inr.gradient_loss(siren, params, targets.points, np.ones((12, 1, 2)), axis_name="data"), jax.Array)
assert_type(inr.laplacian_loss(siren, params, targets.points, targets.values), jax.Array)
assert_type(inr.eikonal_loss(siren, params, targets.points, axis_name="data"), jax.Array)
assert_type(inr.combined_loss(siren, params, targets.points, values=x, value_weight=jnp.array(2.0)), jax.Array)
assert_type(inr.psnr(x, np.ones((4, 3)), align="affine"), jax.Array)
assert_type(inr.sine(0.5), jax.Array)
assert_type(inr.sine_cosine(0.5), tuple[jax.Array, jax.Array])


def fit(params: Dict, points: jax.Array, gradients: jax.Array) -> jax.Array:
    return inr.gradient_loss(siren, params, points, gradients)


assert_type(gradient.parameter_gradient(fit, params, targets.points, targets.gradients), Dict)


# inside of transformations, and with an optimizer


@jax.jit
def train_step(params: Dict, state: optax.OptState, x: jax.Array, y: jax.Array) -> tuple[Dict, optax.OptState]:
    (_, report), slopes = shift.value_and_sam_gradient(reporting, params, x, y, has_aux=True, radius=0.05)
    assert_type(report, Report)
    updates, state = optax.sgd(0.1).update(slopes, state, params)
    return jax.tree.map(jnp.add, params, updates), state


def own_jacobian(params: Dict) -> jax.Array:
    return jax.vmap(lambda x, y: gradient.gradient_norm(loss, params, x, y))(x, y)


# networks

apply_fn, net_params, state = models.from_linen_with_state(
    nn.BatchNorm(use_running_average=False), x, key=jax.random.key(0)
)
net_params["scale"].sum()
state["batch_stats"]["mean"].sum()


def net_loss(params: dict[str, Any], state: dict[str, Any], x: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
    output, state = apply_fn(params, state, x)
    return jnp.mean(output**2), state


slopes, state = shift.sam_gradient(net_loss, net_params, state, x, has_aux=True, radius=0.05)
assert_type(slopes, dict[str, Any])
assert_type(state, dict[str, Any])
jaxgrad.gradient.global_norm(slopes).item()


# one example at a time


def of_one(params: Dict, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Report]:
    logits = x @ params["w"]
    return (logits - y) ** 2, Report(logits, logits > y)


Clipped = tuple[Dict, per_example.ClippedInfo]

assert_type(per_example.gradients(loss, params, x, y, wrt="w"), Dict)
assert_type(per_example.gradients(of_one, params, x, y, has_aux=True), tuple[Dict, Report])
assert_type(per_example.norms(loss, params, x, y, mode="ghost"), jax.Array)
assert_type(per_example.norms(loss, params, x, y, per_leaf=True), Dict)
assert_type(per_example.norms(of_one, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(per_example.norms(of_one, params, x, y, per_leaf=True, has_aux=True), tuple[Dict, Report])
assert_type(per_example.clipped_sum(loss, params, x, y, clip_norm=1.0), Clipped)
assert_type(per_example.clipped_sum(loss, params, x, y, clip_norm=lambda n: 1 / (n + 0.01), is_padding=y > 0), Clipped)
assert_type(per_example.clipped_sum(of_one, params, x, y, clip_norm=params, has_aux=True), tuple[Clipped, Report])
assert_type(per_example.weighted_sum(loss, params, x, y, weights=y), Dict)
assert_type(per_example.weighted_sum(of_one, params, x, y, weights=y, has_aux=True), tuple[Dict, Report])
assert_type(per_example.moments(loss, params, x, y).variance, Dict)
assert_type(per_example.moments(of_one, params, x, y, has_aux=True)[0].mean, Dict)
assert_type(per_example.noise_scale(loss, params, x, y), per_example.NoiseScale)
assert_type(per_example.gram(loss, params, x, y, other=(x, y)), jax.Array)
assert_type(per_example.random_projection(loss, params, x, y, key=jax.random.key(0), dim=2), jax.Array)
assert_type(per_example.empirical_fisher(loss, params, x, y), jax.Array)
assert_type(per_example.empirical_fisher_product(loss, params, params, x, y), Dict)
assert_type(per_example.empirical_fisher_product(of_one, params, params, x, y, has_aux=True), tuple[Dict, Report])
assert_type(per_example.values(loss, params, x, y), jax.Array)
assert_type(per_example.values(of_one, params, x, y), tuple[jax.Array, Report])
assert_type(per_example.explain(of_one, params, x, y, has_aux=True).microbatch, int)


# several losses


def two(params: Dict, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    return loss(params, x, y), jnp.mean(params["w"] ** 2)


def two_and_report(params: Dict, x: jax.Array, y: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Report]:
    return two(params, x, y), reporting(params, x, y)[1]


Pair = tuple[jax.Array, jax.Array]
states = multi_loss.init_states(sgd, params)

assert_type(multi_loss.gradients(two, params, x, y, chunk=1), Dict)
assert_type(multi_loss.gradients(two_and_report, params, x, y, has_aux=True), tuple[Dict, Report])
assert_type(multi_loss.losses_and_gradients(two, params, x, y), tuple[Pair, Dict])
assert_type(
    multi_loss.losses_and_gradients(two_and_report, params, x, y, has_aux=True), tuple[tuple[Pair, Report], Dict]
)
assert_type(multi_loss.gradients(two, params, x, y, shared="w", heads=(None, None)), Dict)
assert_type(multi_loss.gram(two, params, x, y, chunk=1), jax.Array)
assert_type(multi_loss.gram(two_and_report, params, x, y, has_aux=True), tuple[jax.Array, Report])
assert_type(multi_loss.weighted_gradient(two, params, x, y, weights=(1.0, 2.0)), Dict)
assert_type(multi_loss.aggregated_gradient(two, params, x, y, weighting=jnp.diagonal), Dict)
assert_type(
    multi_loss.aggregated_gradient(two, params, x, y, weighting=jnp.diagonal, groups=["w"], full_output=True).weights,
    Any,
)
assert_type(multi_loss.aggregate(params, weighting=jnp.diagonal), Dict)
assert_type(multi_loss.aggregate(params, weighting=jnp.diagonal, full_output=True), multi_loss.Aggregated)
assert_type(multi_loss.backwards(two, params, x, y).gradient(0), Dict)
assert_type(multi_loss.backwards(two_and_report, params, x, y, has_aux=True)[0].gram(), jax.Array)
momenta = multi_loss.init_momentum(params, 2)
assert_type(multi_loss.momentum_gradients(two, params, momenta, x, y, weighting=jnp.diagonal)[0], Dict)
assert_type(multi_loss.conflicts(multi_loss.gram(two, params, x, y)).alignment, jax.Array)
assert_type(multi_loss.simultaneous_updates(two, params, states, x, y, optimizer=sgd)[0], Dict)
assert_type(multi_loss.stch({"a": 1.0, "b": x[0]}, mu=0.1), jax.Array)
assert_type(multi_loss.geometric_mean(x), jax.Array)
assert_type(multi_loss.famo(lower_bounds=(0.0, 0.0)), multi_loss.Scalarizer)
assert_type(multi_loss.modo(learning_rate=0.1), multi_loss.Weighting)
assert_type(multi_loss.sequential_updates(two, params, states, x, y, optimizer=sgd, touches=("w", None))[2], Pair)
assert_type(multi_loss.sequential_updates(two_and_report, params, states, x, y, optimizer=sgd, has_aux=True)[1], Report)


# tasks

support, query = (x[None], y[None]), (x[None], y[None])
places = jnp.zeros((2, 3), int)

assert_type(meta.adapt(loss, params, (x, y), optimizer=sgd, num_steps=2), Dict)
assert_type(meta.adapt(reporting, params, (x, y), optimizer=sgd, num_steps=2, has_aux=True), tuple[Dict, Report])
assert_type(meta.maml_gradient(loss, params, support, query, optimizer=sgd, num_steps=2, inner_wrt="w"), Dict)
assert_type(
    meta.value_and_maml_gradient(reporting, params, support, query, optimizer=sgd, num_steps=2, has_aux=True),
    tuple[tuple[jax.Array, Report], Dict],
)
assert_type(
    meta.first_order_gradient(reporting, params, support, query, optimizer=sgd, num_steps=2, has_aux=True),
    tuple[Dict, Report],
)
assert_type(
    meta.maml_gradient(loss, params, support, query, optimizer=sgd, num_steps=2, full_output=True),
    meta.MetaGradient[Dict],
)
assert_type(
    meta.maml_gradient(reporting, params, support, query, optimizer=sgd, num_steps=2, has_aux=True, full_output=True),
    tuple[meta.MetaGradient[Dict], Report],
)
assert_type(
    meta.meta_sgd_gradient(loss, params, params, support, query, num_steps=2, full_output=True),
    meta.MetaGradient[tuple[Dict, Dict]],
)
assert_type(
    meta.value_and_first_order_gradient(loss, params, support, query, optimizer=sgd, num_steps=2),
    tuple[jax.Array, Dict],
)
assert_type(meta.implicit_gradient(loss, params, support, query, strength=1.0, optimizer=sgd, num_steps=2), Dict)
assert_type(
    meta.implicit_gradient(
        reporting, params, support, query, strength=1.0, optimizer=sgd, num_steps=2, has_aux=True, full_output=True
    ),
    tuple[meta.ImplicitGradient[Dict], Report],
)


def of_rate(w: Dict, rate: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return rate * loss(w, x, y)


assert_type(
    meta.hypergradient(of_rate, of_rate, params, x, (x, y), (x, y), optimizer=sgd, num_steps=2, full_output=True),
    meta.Hypergradient[Dict, jax.Array],
)
assert_type(
    meta.hypergradient(of_rate, of_rate, params, x, (x, y), (x, y), optimizer=optax.sgd, num_steps=2), jax.Array
)
assert_type(meta.data_weights_gradient(loss, params, (x, y), places, (x, y), optimizer=sgd), jax.Array)
assert_type(
    meta.data_weights_gradient(loss, params, (x, y), places, (x, y), optimizer=sgd, full_output=True), meta.DataWeights
)
assert_type(meta.smoothness(loss, params, (x, y), places, (x, y), optimizer=sgd), meta.Smoothness)
assert_type(meta.adapt(loss, params, (x, y), optimizer=sgd, num_steps=2, full_output=True).losses, jax.Array)
assert_type(meta.meta_sgd_gradient(loss, params, params, support, query, num_steps=2), tuple[Dict, Dict])
assert_type(
    meta.value_and_meta_sgd_gradient(reporting, params, params, support, query, num_steps=2, has_aux=True),
    tuple[tuple[jax.Array, Report], tuple[Dict, Dict]],
)
assert_type(meta.reptile_gradient(loss, params, support, optimizer=sgd, num_steps=2, chunk=1), Dict)
assert_type(
    meta.reptile_gradient(reporting, params, support, optimizer=sgd, num_steps=2, has_aux=True), tuple[Dict, Report]
)
assert_type(meta.step_gradient(loss, params, x, y, optimizer=sgd, truncated=True), Dict)
assert_type(meta.step_gradient(reporting, params, x, y, optimizer=sgd, has_aux=True), tuple[Dict, Report])

# old spellings have the type of the new ones
assert_type(shift.lookahead_gradient(loss, params, x, y, learning_rate=0.1), Dict)
assert_type(gradient.value_and_gradient(loss, params, x, y), tuple[jax.Array, Dict])
assert_type(
    meta.maml_value_and_gradient(loss, params, support, query, optimizer=sgd, num_steps=2), tuple[jax.Array, Dict]
)

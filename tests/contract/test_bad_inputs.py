"""What cannot be differentiated is refused in words, by every public function that takes it.

A table: for every function a call with a loss, parameters and a tangent of the test's choosing. The message names the
argument and the leaf, says what it got, and is never empty nor JAX's own.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import curvature, gradient, inr, meta, multi_loss, nth, per_example, shift
from jaxgrad.shift import LookSAMState, MSAMState
from tests.contract import rules_of_gram
from tests.contract.house import is_function, public_functions

X = jnp.array([[0.3, -0.2], [0.5, 0.4]])
TASKS = (X[None],)
TRAINING = (X,), np.array([[0, 1]]), (X,)
W = {"w": jnp.array([0.5, -1.0])}
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)
RATES = {"w": jnp.array(0.1)}
INNER = {"optimizer": SGD, "num_steps": 1}
WEIGHTS = jnp.asarray(np.ones(2))
TOUCHES = {"optimizer": SGD, "touches": ["w", "w"]}


def loss(params, *data):
    """Return a real scalar of any parameters and data."""
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((params, data)))


def complex_loss(params, *data):
    value = loss(params, *data)
    return jax.lax.complex(value, value)


def both(losses):
    """Return a function of two losses."""
    return lambda params, *data: (losses(params, *data), 2 * losses(params, *data))


def field(params, points):
    return points * params["w"]


def field_of(params, x):
    return x * params["w"][None]


def summed(losses):
    """Return the product with the Hessian of a weighted sum over examples."""
    return functools.partial(curvature.hvp, curvature.weighted_loss(losses))


def update_with_dp(loss_fn, params):
    rule = per_example.dp_aggregate(loss_fn, clip_norm=1.0, noise_multiplier=0.0, expected_batch_size=2.0, key=KEY)
    return rule.update(None, rule.init(W), params, batch=(X,))


STATES = multi_loss.init_states(SGD, W)
MOMENTA = multi_loss.init_momentum(W, 2)
DRAWN = {"key": KEY, "num_samples": 2}


def hessian(loss_fn):
    """Return the product with the Hessian of a loss."""
    return functools.partial(curvature.hvp, loss_fn)


OF_A_LOSS = {
    "curvature.diagonal": lambda f, p: curvature.diagonal(hessian(f), p, X, **DRAWN),
    "curvature.eigenpairs": lambda f, p: curvature.eigenpairs(hessian(f), p, X, k=1, key=KEY),
    "curvature.log_determinant": lambda f, p: curvature.log_determinant(hessian(f), p, X, damping=1.0, **DRAWN),
    "curvature.nystrom": lambda f, p: curvature.nystrom(hessian(f), p, X, key=KEY, rank=2),
    "curvature.operator": lambda f, p: curvature.operator(hessian(f), p, X) @ p,
    "curvature.row_space_solve": lambda f, p: curvature.row_space_solve(f, p, W, X, damping=1.0),
    "curvature.solve": lambda f, p: curvature.solve(hessian(f), p, p, X, damping=1.0),
    "curvature.spectral_density": lambda f, p: curvature.spectral_density(hessian(f), p, X, **DRAWN),
    "curvature.trace": lambda f, p: curvature.trace(hessian(f), p, X, **DRAWN),
    "curvature.dense_hessian": lambda f, p: curvature.dense_hessian(f, p, X),
    "curvature.influence": lambda f, p: curvature.influence(f, p, (X,), (X,)),
    "curvature.fisher_product": lambda f, p: curvature.fisher_product(f, p, W, X, X, output_loss="squared_error"),
    "curvature.ggn_product": lambda f, p: curvature.ggn_product(f, p, W, X, X, output_loss="squared_error"),
    "curvature.hvp": lambda f, p: curvature.hvp(f, p, W, X),
    "curvature.jacobian_product": lambda f, p: curvature.jacobian_product(f, p, W, X),
    "curvature.linearize": lambda f, p: curvature.linearize(functools.partial(curvature.hvp, f), p, X),
    "curvature.over_batches": lambda f, p: curvature.over_batches(summed(f), p, W, [(X,)]),
    "curvature.over_dataset": lambda f, p: curvature.over_dataset(summed(f), p, W, (X[None],), jnp.ones((1, 2))),
    "curvature.ekfac": lambda f, p: curvature.ekfac(f, p, X),
    "curvature.kfac": lambda f, p: curvature.kfac(f, p, X),
    "gradient.descent_step": lambda f, p: gradient.descent_step(f, p, X, learning_rate=0.1),
    "gradient.gradient_norm": lambda f, p: gradient.gradient_norm(f, p, X),
    "gradient.mixed_jacobian": lambda f, p: gradient.mixed_jacobian(f, p, X),
    "gradient.mixed_product": lambda f, p: gradient.mixed_product(f, p, W, X),
    "gradient.named_gradients": lambda f, p: gradient.named_gradients(f, p, X),
    "gradient.parameter_gradient": lambda f, p: gradient.parameter_gradient(f, p, X),
    "gradient.squared_norm_gradient": lambda f, p: gradient.squared_norm_gradient(f, p, X),
    "gradient.value_and_grad": lambda f, p: gradient.value_and_grad(f, p, X),
    "meta.adapt": lambda f, p: meta.adapt(f, p, (X,), **INNER),
    "meta.data_weights_gradient": lambda f, p: meta.data_weights_gradient(f, p, *TRAINING, optimizer=SGD),
    "meta.smoothness": lambda f, p: meta.smoothness(f, p, *TRAINING, optimizer=SGD),
    "meta.first_order_gradient": lambda f, p: meta.first_order_gradient(f, p, TASKS, TASKS, **INNER),
    "meta.value_and_first_order_gradient": lambda f, p: meta.value_and_first_order_gradient(
        f, p, TASKS, TASKS, **INNER
    ),
    "meta.evolution_gradient": lambda f, p: meta.evolution_gradient(
        f, f, p, {"s": jnp.ones(2)}, (X,), (X,), scale=0.1, samples={"s": jnp.ones((2, 2))}, **INNER
    ),
    "meta.hypergradient": lambda f, p: meta.hypergradient(f, f, p, {"s": jnp.ones(2)}, (X,), (X,), **INNER),
    "meta.implicit_gradient": lambda f, p: meta.implicit_gradient(f, p, TASKS, TASKS, strength=1.0, **INNER),
    "meta.maml_gradient": lambda f, p: meta.maml_gradient(f, p, TASKS, TASKS, **INNER),
    "meta.value_and_maml_gradient": lambda f, p: meta.value_and_maml_gradient(f, p, TASKS, TASKS, **INNER),
    "meta.meta_sgd_gradient": lambda f, p: meta.meta_sgd_gradient(f, p, RATES, TASKS, TASKS, num_steps=1),
    "meta.value_and_meta_sgd_gradient": lambda f, p: meta.value_and_meta_sgd_gradient(
        f, p, RATES, TASKS, TASKS, num_steps=1
    ),
    "meta.reptile_gradient": lambda f, p: meta.reptile_gradient(f, p, TASKS, **INNER),
    "meta.truncated_gradient": lambda f, p: meta.truncated_gradient(f, p, TASKS, TASKS, window=1, **INNER),
    "meta.step_gradient": lambda f, p: meta.step_gradient(f, p, X, optimizer=SGD),
    "multi_loss.aggregated_gradient": lambda f, p: multi_loss.aggregated_gradient(
        both(f), p, X, weighting=jnp.diagonal
    ),
    "multi_loss.backwards": lambda f, p: multi_loss.backwards(both(f), p, X),
    "multi_loss.gram": lambda f, p: multi_loss.gram(both(f), p, X),
    "multi_loss.momentum_gradients": lambda f, p: multi_loss.momentum_gradients(
        both(f), p, MOMENTA, X, weighting=jnp.diagonal
    ),
    "multi_loss.weighted_gradient": lambda f, p: multi_loss.weighted_gradient(both(f), p, X, weights=WEIGHTS),
    "multi_loss.sequential_updates": lambda f, p: multi_loss.sequential_updates(both(f), p, STATES, X, **TOUCHES),
    "multi_loss.gradients": lambda f, p: multi_loss.gradients(both(f), p, X),
    "multi_loss.losses_and_gradients": lambda f, p: multi_loss.losses_and_gradients(both(f), p, X),
    "multi_loss.simultaneous_updates": lambda f, p: multi_loss.simultaneous_updates(both(f), p, STATES, X, **TOUCHES),
    "per_example.clipped_sum": lambda f, p: per_example.clipped_sum(f, p, X, clip_norm=1.0),
    "per_example.dp_aggregate": update_with_dp,
    "per_example.empirical_fisher": lambda f, p: per_example.empirical_fisher(f, p, X),
    "per_example.empirical_fisher_product": lambda f, p: per_example.empirical_fisher_product(f, p, W, X),
    "per_example.explain": lambda f, p: per_example.explain(f, p, X),
    "per_example.gradients": lambda f, p: per_example.gradients(f, p, X),
    "per_example.gram": lambda f, p: per_example.gram(f, p, X),
    "per_example.moments": lambda f, p: per_example.moments(f, p, X),
    "per_example.noise_scale": lambda f, p: per_example.noise_scale(f, p, X),
    "per_example.norms": lambda f, p: per_example.norms(f, p, X),
    "per_example.random_projection": lambda f, p: per_example.random_projection(f, p, X, key=KEY, dim=2),
    "per_example.weighted_sum": lambda f, p: per_example.weighted_sum(f, p, X, weights=WEIGHTS),
    "shift.expected_gradient": lambda f, p: shift.expected_gradient(f, p, {"w": jnp.zeros((2, 2))}, X),
    "shift.evolution_gradient": lambda f, p: shift.evolution_gradient(f, p, {"w": jnp.zeros((2, 2))}, X, scale=0.1),
    "shift.explain": lambda f, p: shift.explain(f, p, X, rank=1),
    "shift.low_rank_shifts": lambda f, p: shift.low_rank_shifts(f, p, X, key=KEY, num_shifts=2, rank=1),
    "shift.score_function_gradient": lambda f, p: shift.score_function_gradient(
        f, p, {"w": jnp.zeros((2, 2))}, X, scale=0.1
    ),
    "shift.gradient": lambda f, p: shift.gradient(f, p, W, X),
    "shift.fisher_sam_gradient": lambda f, p: shift.fisher_sam_gradient(f, p, p, X, radius=0.1),
    "shift.looksam_gradient": lambda f, p: shift.looksam_gradient(f, p, LookSAMState(jnp.int32(0), p), X, radius=0.1),
    "shift.msam_gradient": lambda f, p: shift.msam_gradient(f, p, MSAMState(p), X, radius=0.1),
    "shift.extragradient": lambda f, p: shift.extragradient(f, p, X, learning_rate=0.1),
    "shift.sam_gradient": lambda f, p: shift.sam_gradient(f, p, X, radius=0.1),
    "shift.value_and_grad": lambda f, p: shift.value_and_grad(f, p, W, X),
    "shift.value_and_extragradient": lambda f, p: shift.value_and_extragradient(f, p, X, learning_rate=0.1),
    "shift.value_and_sam_gradient": lambda f, p: shift.value_and_sam_gradient(f, p, X, radius=0.1),
}
"""Calls with a real scalar loss, or two, and parameters that are differentiated."""

OF_AN_INPUT = {
    "gradient.gradient_penalty": ("x", lambda f, x: gradient.gradient_penalty(lambda p, a: f(a), W, x)),
    "gradient.input_gradient": ("x", lambda f, x: gradient.input_gradient(lambda p, a: f(a), W, x)),
    "inr.combined_loss": ("points", lambda f, x: inr.combined_loss(field, W, x["w"], values=jnp.ones(2))),
    "inr.coordinate_derivatives": ("points", lambda f, x: inr.coordinate_derivatives(field, W, x["w"])),
    "inr.eikonal_loss": ("points", lambda f, x: inr.eikonal_loss(field, W, x["w"])),
    "inr.gradient_loss": ("points", lambda f, x: inr.gradient_loss(field, W, x["w"], jnp.ones((2, 2)))),
    "inr.image_targets": ("image", lambda f, x: inr.image_targets(x["w"][None].repeat(2, 0))),
    "inr.laplacian_loss": ("points", lambda f, x: inr.laplacian_loss(field, W, x["w"], jnp.ones(2))),
    "inr.ceiling": ("points", lambda f, x: inr.ceiling(inr.ImageTargets(*[x["w"]] * 4), shape=(2, 2))),
    "inr.refined_targets": ("image", lambda f, x: inr.refined_targets(x["w"][None].repeat(2, 0))),
    "inr.sample_by_error": ("errors", lambda f, x: inr.sample_by_error(KEY, x["w"], 2)),
    "inr.targets_at": ("points", lambda f, x: inr.targets_at(jnp.ones((2, 2)), x["w"])),
    "inr.psnr": ("image", lambda f, x: inr.psnr(x["w"][None], x["w"][None])),
    "inr.sine": ("x", lambda f, x: inr.sine(x["w"])),
    "inr.sine_cosine": ("x", lambda f, x: inr.sine_cosine(x["w"])),
    "inr.value_loss": ("points", lambda f, x: inr.value_loss(field, W, x["w"], jnp.ones(2))),
    "nth.all_mixed": ("x", lambda f, x: nth.all_mixed(f, x["w"], 2)),
    "nth.biharmonic": ("x", lambda f, x: nth.biharmonic(f, x["w"])),
    "nth.derivative": ("x", lambda f, x: nth.derivative(jnp.sin, x["w"][0], 2)),
    "nth.derivatives": ("x", lambda f, x: nth.derivatives(jnp.sin, x["w"][0], 2)),
    "nth.directional": ("x", lambda f, x: nth.directional(f, x, W, 2)),
    "nth.divergence": ("x", lambda f, x: nth.divergence(jnp.sin, x["w"])),
    "nth.stochastic_operator": ("x", lambda f, x: nth.stochastic_operator(f, x["w"], key=KEY, num_samples=2)),
    "nth.jet": ("primals", lambda f, x: nth.jet(jnp.sin, (x["w"],), ([jnp.ones(2)],))),
    "nth.laplacian": ("x", lambda f, x: nth.laplacian(f, x["w"])),
    "nth.mixed_partial": ("x", lambda f, x: nth.mixed_partial(f, x["w"], (1, 1))),
    "nth.ode_series": ("x", lambda f, x: nth.ode_series(lambda y: jax.tree.map(jnp.sin, y), x, 2)),
    "nth.second_derivatives": ("x", lambda f, x: nth.second_derivatives(f, x["w"])),
    "nth.taylor_coefficients": ("x", lambda f, x: nth.taylor_coefficients(f, x, W, 2)),
    "nth.value_gradient_laplacian": ("x", lambda f, x: nth.value_gradient_laplacian(f, x["w"])),
    "nth.weighted_laplacian": ("x", lambda f, x: nth.weighted_laplacian(f, x["w"], jnp.ones(2))),
    "multi_loss.stch": ("losses", lambda f, x: multi_loss.stch(x["w"], mu=0.1)),
    "multi_loss.cosmos": ("losses", lambda f, x: multi_loss.cosmos(x["w"], weights=WEIGHTS, penalty=1.0)),
    "multi_loss.pbi": ("losses", lambda f, x: multi_loss.pbi(x["w"], weights=WEIGHTS, penalty=1.0)),
    "multi_loss.geometric_mean": ("losses", lambda f, x: multi_loss.geometric_mean(x["w"])),
    "gradient.clip_by_global_norm": ("tree", lambda f, x: gradient.clip_by_global_norm(x, 1.0)),
    "gradient.clip_by_value": ("tree", lambda f, x: gradient.clip_by_value(x, 1.0)),
    "gradient.global_norm": ("tree", lambda f, x: gradient.global_norm(x)),
    "gradient.hessian": ("params", lambda f, x: gradient.hessian(f, x)),
    "gradient.jacobian": ("params", lambda f, x: gradient.jacobian(f, x)),
    "shift.looksam_init": ("params", lambda f, x: shift.looksam_init(x)),
    "shift.msam_init": ("params", lambda f, x: shift.msam_init(x)),
    "shift.random_shifts": ("params", lambda f, x: shift.random_shifts(x, key=KEY, num_shifts=2)),
    "multi_loss.aggregate": ("rows", lambda f, x: multi_loss.aggregate(x, weighting=multi_loss.mean_weights)),
    "multi_loss.graddrop": ("rows", lambda f, x: multi_loss.graddrop(x, key=KEY)),
    "multi_loss.trimmed_mean": ("rows", lambda f, x: multi_loss.trimmed_mean(x, trim=0)),
    **{
        f"multi_loss.{name}": ("gram", lambda f, x, call=call: call(x["w"]))
        for name, call in rules_of_gram.CALLS.items()
    },
}
"""Calls with what is differentiated, or measured, under the name of its argument."""

OF_A_TANGENT = {
    "curvature.fisher_product": (
        "vector",
        lambda t: curvature.fisher_product(field_of, W, t, X, X, output_loss="squared_error"),
    ),
    "curvature.ggn_product": (
        "vector",
        lambda t: curvature.ggn_product(field_of, W, t, X, X, output_loss="squared_error"),
    ),
    "curvature.hvp": ("vector", lambda t: curvature.hvp(loss, W, t, X)),
    "curvature.row_space_solve": ("rhs", lambda t: curvature.row_space_solve(loss, W, t, X, damping=1.0)),
    "curvature.solve": ("rhs", lambda t: curvature.solve(hessian(loss), W, t, X, damping=1.0)),
    "curvature.eigenpairs": ("start", lambda t: curvature.eigenpairs(hessian(loss), W, X, k=1, start=t)),
    "curvature.trace": (
        "probes",
        lambda t: curvature.trace(hessian(loss), W, X, probes=jax.tree.map(lambda a: np.stack([a] * 2), t)),
    ),
    "curvature.jacobian_product": ("vector", lambda t: curvature.jacobian_product(loss, W, t, X)),
    "curvature.linearize": (
        "vector",
        lambda t: curvature.linearize(functools.partial(curvature.hvp, loss), W, X)(t),
    ),
    "curvature.over_batches": ("vector", lambda t: curvature.over_batches(summed(loss), W, t, [(X,)])),
    "curvature.over_dataset": (
        "vector",
        lambda t: curvature.over_dataset(summed(loss), W, t, (X[None],), jnp.ones((1, 2))),
    ),
    "gradient.mixed_product": ("vector", lambda t: gradient.mixed_product(loss, W, t, X)),
    "meta.data_weights_gradient": (
        "weights",
        lambda t: meta.data_weights_gradient(loss, W, *TRAINING, optimizer=SGD, weights=t["w"]),
    ),
    "meta.smoothness": (
        "direction",
        lambda t: meta.smoothness(loss, W, *TRAINING, optimizer=SGD, direction=t["w"]),
    ),
    "nth.directional": ("direction", lambda t: nth.directional(loss, W, t, 2, X)),
    "nth.stochastic_operator": (
        "probes",
        lambda t: nth.stochastic_operator(loss, W["w"], probes=np.stack([t["w"]] * 2)),
    ),
    "nth.jet": ("series", lambda t: nth.jet(jnp.sin, (W["w"],), ([t["w"]],))),
    "nth.taylor_coefficients": ("direction", lambda t: nth.taylor_coefficients(loss, W, t, 2, X)),
    "nth.weighted_laplacian": ("weights", lambda t: nth.weighted_laplacian(loss, W["w"], t["w"])),
    "per_example.empirical_fisher_product": (
        "vector",
        lambda t: per_example.empirical_fisher_product(loss, W, t, X),
    ),
    "per_example.weighted_sum": ("weights", lambda t: per_example.weighted_sum(loss, W, X, weights=t["w"])),
    "shift.expected_gradient": (
        "shifts",
        lambda t: shift.expected_gradient(loss, W, jax.tree.map(lambda a: a[None], t), X),
    ),
    "shift.evolution_gradient": (
        "shifts",
        lambda t: shift.evolution_gradient(loss, W, jax.tree.map(lambda a: a[None], t), X, scale=0.1),
    ),
    "shift.score_function_gradient": (
        "shifts",
        lambda t: shift.score_function_gradient(loss, W, jax.tree.map(lambda a: a[None], t), X, scale=0.1),
    ),
    "shift.fisher_sam_gradient": ("fisher", lambda t: shift.fisher_sam_gradient(loss, W, t, X, radius=0.1)),
    "shift.gradient": ("shift", lambda t: shift.gradient(loss, W, t, X)),
    "shift.value_and_grad": ("shift", lambda t: shift.value_and_grad(loss, W, t, X)),
}
"""Calls with a tangent: what mirrors the parameters, or multiplies them."""

TAKES_NONE = {
    "curvature.gauss_newton": "takes residuals, of any sign and number",
    "curvature.log_evidence": "takes a loss that was computed, and factors",
    "curvature.predictive_covariance": "takes a model of any outputs",
    "curvature.stack_batches": "moves the rows of any arrays",
    "curvature.weighted_loss": "returns a function, differentiates nothing",
    "multi_loss.conflicts": "takes a matrix that was computed",
    "multi_loss.draw_conflicts": "draws what was computed",
    "multi_loss.init_momentum": "momenta stand beside leaves that wrt= holds still, too",
    "multi_loss.init_states": "states stand beside leaves that wrt= holds still, too",
    **dict.fromkeys(
        (
            "multi_loss.cr_mogm",
            "multi_loss.dwa",
            "multi_loss.excess_mtl",
            "multi_loss.famo",
            "multi_loss.gradnorm",
            "multi_loss.gradvac",
            "multi_loss.imtl_l",
            "multi_loss.modo",
            "multi_loss.pcd",
            "multi_loss.sdmgrad",
            "multi_loss.uncertainty",
        ),
        "builds a pair of functions, which take losses or products that were computed",
    ),
    "inr.sample_points": "takes a key and a shape",
    "nth.register_rule": "a rule for a primitive",
    "per_example.values": "a function of any output, that is not differentiated",
    "shift.ivon": "takes settings; its functions are given gradients",
    "shift.sam_transform": "takes an optimizer, and gradients that were computed",
}

INTEGERS = {
    "a NumPy array": np.array([1, 2]),
    "NumPy unsigned bytes": np.array([1, 2], np.uint8),
    "a JAX array": jnp.array([1, 2]),
    "bools": np.array([True, False]),
}
EXACT_IN_INTEGERS = ("nth.stochastic_operator", "nth.jet", "per_example.weighted_sum")
"""Functions whose numbers are cast to the dtype of the point: 1 and 1.0 are the same there."""

NO_TANGENT = {
    "float0": np.zeros(2, jax.dtypes.float0),
    "NumPy integers": np.array([1, 2]),
    "complex numbers": np.array([1j, 2j]),
}


def refusal(call):
    """Return the error of a call, after checking that it is a sentence of the house."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    words = str(caught.value)
    assert re.match(r"[A-Za-z].{20,}", words), words
    raw = ("Invalid", "grad requires", "primal and tangent", "jax.vjp", "not a valid JAX type", "Value ", "unsupported")
    assert not any(part in words for part in raw), words
    return caught.value


def test_every_public_function_is_here():
    names = {name for name, thing in public_functions().items() if is_function(thing)}
    assert names == {*OF_A_LOSS, *OF_AN_INPUT, *OF_A_TANGENT, *TAKES_NONE}


@pytest.mark.parametrize("name", OF_A_LOSS)
def test_a_complex_loss(name):
    error = refusal(lambda: OF_A_LOSS[name](complex_loss, W))
    assert isinstance(error, TypeError)
    assert re.search(r"(loss_fn|losses_fn|inner_loss|fun|model_fn)\b.* must .*real[\s\S]*got complex", str(error)), (
        error
    )


@pytest.mark.parametrize("name", OF_A_LOSS)
@pytest.mark.parametrize("kind", INTEGERS)
def test_integer_parameters(name, kind):
    error = refusal(lambda: OF_A_LOSS[name](loss, {"w": INTEGERS[kind]}))
    assert isinstance(error, TypeError)
    assert re.search(r"params.* must .*floating-point[\s\S]*params\['w'\]: got (u?int|bool)", str(error)), error


@pytest.mark.parametrize("name", OF_AN_INPUT)
@pytest.mark.parametrize("kind", INTEGERS)
def test_integer_inputs(name, kind):
    argument, call = OF_AN_INPUT[name]
    error = refusal(lambda: call(loss, {"w": INTEGERS[kind]}))
    assert isinstance(error, TypeError)
    assert re.search(rf"{argument}\b[\s\S]*got (u?int|bool)", str(error)), error


@pytest.mark.parametrize("name", OF_A_TANGENT)
@pytest.mark.parametrize("kind", NO_TANGENT)
def test_tangents_without_a_derivative(name, kind):
    argument, call = OF_A_TANGENT[name]
    if kind == "NumPy integers" and name in EXACT_IN_INTEGERS:
        whole, same = call({"w": NO_TANGENT[kind]}), call({"w": NO_TANGENT[kind].astype(float)})
        jax.tree.map(np.testing.assert_array_equal, whole, same)
        return
    error = refusal(lambda: call({"w": NO_TANGENT[kind]}))
    assert re.search(rf"{argument}\b[\s\S]*got (int|float0|complex|void|\[\('float0)", str(error)), error

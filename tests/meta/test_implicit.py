"""`implicit_gradient` against dense solves in torch, closed forms, the gradient through the steps; what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad import meta
from jaxgrad.meta import implicit_gradient
from tests.bridge import assert_parity
from tests.meta.tasks import (
    OPTIMIZERS,
    PARAMS,
    PARAMS_TORCH,
    QUERY,
    QUERY_TORCH,
    STATE,
    STATE_TORCH,
    SUPPORT,
    SUPPORT_TORCH,
    centred,
    centred_torch,
)
from tests.problems import mean_square, mean_square_torch, mlp_jax
from tests.turns import one_in

pytestmark = pytest.mark.either_lane

SGD = OPTIMIZERS["sgd"][0]
EXACT = {"tolerance": 1e-13, "num_iterations": 60}
STEPS = {"optimizer": SGD, "num_steps": 2}
X = jnp.array([[1.0, 2.0], [3.0, -1.0]])
of_network = functools.partial(implicit_gradient, mean_square, PARAMS, SUPPORT, QUERY, strength=2.0, **STEPS)


@pytest.fixture(scope="module")
def exact():
    return of_network(full_output=True, **EXACT)


@pytest.mark.parametrize("name", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_matches_torch(name):
    ours, theirs = OPTIMIZERS[name]
    got = of_network(optimizer=ours, **EXACT)
    tasks = PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH
    inner = {"strength": 2.0, "optimizer": theirs, "num_steps": 2}
    assert_parity(got, torch_ref.meta.implicit_gradient(mean_square_torch, *tasks, **inner))


@pytest.mark.parametrize("statistics", one_in(2, ["frozen", "transductive"]))
def test_a_state_that_stays_matches_torch(statistics):
    def of_task(params, x, y):
        return centred_torch(params, STATE_TORCH, x, y, train=statistics == "transductive")[0]

    tasks = PARAMS_TORCH, SUPPORT_TORCH, QUERY_TORCH
    want = torch_ref.meta.implicit_gradient(of_task, *tasks, strength=2.0, optimizer=OPTIMIZERS["sgd"][1], num_steps=2)
    options = {"strength": 2.0, "state": STATE, "statistics": statistics, **STEPS, **EXACT}
    assert_parity(implicit_gradient(centred, PARAMS, SUPPORT, QUERY, **options), want)


@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_an_array_without_strength_gives_nan_and_not_zero(strength):
    got = implicit_gradient(
        lambda w, x: jnp.sum((w - x) ** 2), jnp.ones(2), X, X, strength=jnp.array(strength), **STEPS
    )
    assert jnp.isnan(got).all()


def test_a_state_that_the_steps_change_is_refused():
    options = {"strength": 2.0, "state": STATE, "statistics": "carried", **STEPS}
    with pytest.raises(ValueError, match=r"statistics=\"carried\" changes the inner problem .*; write \"frozen\""):
        implicit_gradient(centred, PARAMS, SUPPORT, QUERY, **options)


@pytest.mark.slow
def test_full_output_tells_how_far_to_trust_it(exact):
    def proximal(fast, x, y):
        apart = jax.tree.map(jnp.subtract, fast, PARAMS)
        return mean_square(fast, x, y) + 1.0 * optax.tree.norm(apart, squared=True)

    adapted = jax.vmap(lambda task: meta.adapt(proximal, PARAMS, task, **STEPS))(SUPPORT)
    assert_parity(exact.params, adapted)
    assert_parity(exact.value, jax.vmap(mean_square)(adapted, *QUERY).mean())
    slopes = jax.vmap(jax.grad(proximal))(adapted, *SUPPORT)
    assert_parity(exact.inner_gradient_norm, jax.vmap(optax.tree.norm)(slopes))
    assert exact.converged.all()
    assert not exact.indefinite.any()
    assert (exact.residual_norm < 1e-13).all()
    assert (exact.products <= 60).all()


def test_a_solve_that_ends_early_says_so(exact):
    few = of_network(full_output=True, num_iterations=2, tolerance=1e-13)
    assert not few.converged.any()
    assert few.products.tolist() == [3, 3, 3]  # one of them for the residual
    assert (few.residual_norm > 1e-6).all()
    assert (few.residual_norm < 1).all()


def test_the_identity_is_the_gradient_at_the_adapted_parameters(exact):
    got = of_network(solver="identity", full_output=True)
    slopes = jax.vmap(jax.grad(mean_square))(exact.params, *QUERY)
    assert_parity(got.gradient, jax.tree.map(lambda leaf: leaf.mean(0), slopes))
    assert not got.converged.any()
    assert (got.residual_norm > 1e-2).all()


@pytest.mark.slow
def test_chunks_and_a_start_and_aux(exact):
    """Two tasks at a time, of three; the minima are given, so that no step is taken."""

    def reporting(params, x, y):
        return mean_square(params, x, y), mlp_jax(params, x)

    given = {"num_steps": 0, "start": exact.params, "chunk": 2, "has_aux": True, "full_output": True}
    got, aux = implicit_gradient(reporting, PARAMS, SUPPORT, QUERY, optimizer=SGD, strength=2.0, **given, **EXACT)
    assert_parity(got._replace(products=0), exact._replace(products=0, residual_norm=got.residual_norm))
    assert_parity(aux, jax.vmap(lambda params, x: mlp_jax(params, x))(exact.params, QUERY[0]))


def ridge(params, x, y):
    """A quadratic loss: its Hessian is that of x, and the minimum near a point is known."""
    return 0.5 * jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


RNG = np.random.default_rng(3)
LINE = {"w": jnp.asarray(RNG.normal(size=4)), "b": jnp.asarray(0.3)}
TASKS = [(jnp.asarray(RNG.normal(size=(3, 8, 4))), jnp.asarray(RNG.normal(size=(3, 8)))) for _ in range(2)]
TO_THE_END = {"optimizer": optax.sgd(0.4), "num_steps": 200}


def closed_form(line, strength):
    """Return the meta-loss of exact minima."""

    def of_task(support, query):
        x, y = (jnp.concatenate([support[0], jnp.ones((8, 1))], 1)), support[1]
        start = jnp.append(line["w"], line["b"])
        w = jnp.linalg.solve(x.T @ x / 8 + strength * jnp.eye(5), x.T @ y / 8 + strength * start)
        return ridge({"w": w[:4], "b": w[4]}, *query)

    return jax.vmap(of_task)(*TASKS).mean()


def test_ridge_regression_exactly():
    """Conjugate gradients are exact after as many iterations as there are weights."""
    got = implicit_gradient(ridge, LINE, *TASKS, strength=0.5, **TO_THE_END, num_iterations=5, tolerance=0.0)
    assert_parity(got, jax.grad(closed_form)(LINE, 0.5))


@pytest.mark.slow
def test_the_gradient_through_the_steps_comes_close_to_it_as_they_grow():
    def through(num_steps):
        def near(line, support):
            def proximal(fast, *task):
                apart = jax.tree.map(jnp.subtract, fast, line)
                return ridge(fast, *task) + 0.25 * optax.tree.norm(apart, squared=True)

            return meta.adapt(proximal, line, support, optimizer=optax.sgd(0.4), num_steps=num_steps)

        return jax.grad(lambda line: jax.vmap(lambda s, q: ridge(near(line, s), *q))(*TASKS).mean())(LINE)

    want = jax.grad(closed_form)(LINE, 0.5)
    errors = [optax.tree.norm(jax.tree.map(jnp.subtract, through(k), want)) for k in (5, 20, 200)]
    assert errors[0] > 10 * errors[1] > 1e-6
    assert errors[2] < 1e-12


def scaled(factor):
    return lambda params, x, y: factor * ridge(params, x, y)


@pytest.mark.slow
def test_the_step_of_the_series_cancels():
    """Three terms of it are the same for a support loss, and a strength, that are a hundred times as large."""
    exact = implicit_gradient(ridge, LINE, *TASKS, strength=0.5, **TO_THE_END)
    adapted = jax.vmap(lambda *task: meta.adapt(ridge, LINE, task, **TO_THE_END))(*TASKS[0])
    options = {"optimizer": SGD, "num_steps": 0, "start": adapted, "solver": "neumann", "num_iterations": 3}
    one, hundred = [
        implicit_gradient(scaled(c), LINE, *TASKS, strength=0.5 * c, **options, full_output=True) for c in (1.0, 100.0)
    ]
    assert_parity(jax.tree.map(lambda leaf: 100 * leaf, one.gradient), hundred.gradient)
    assert one.products.tolist() == hundred.products.tolist() == [9, 9, 9]
    assert not one.converged.any()
    whole = implicit_gradient(ridge, LINE, *TASKS, strength=0.5, **TO_THE_END, solver="neumann", num_iterations=400)
    assert_parity(whole, exact, tolerance=1e-4)


@pytest.mark.slow
def test_leaves_that_the_inner_steps_do_not_move_have_their_total_gradient():
    """The minimum of the weights moves with the bias, which all tasks share."""

    def meta_loss(line):
        def of_task(support, query):
            x, y = support
            left = x.T @ (y - line["b"]) / 8 + 0.5 * line["w"]
            return ridge({"w": jnp.linalg.solve(x.T @ x / 8 + 0.5 * jnp.eye(4), left), "b": line["b"]}, *query)

        return jax.vmap(of_task)(*TASKS).mean()

    options = {"strength": 0.5, **TO_THE_END, "num_iterations": 4, "tolerance": 0.0, "inner_wrt": "w"}
    want = jax.grad(meta_loss)(LINE)
    assert_parity(implicit_gradient(ridge, LINE, *TASKS, **options), want)
    of_bias = implicit_gradient(ridge, LINE, *TASKS, **options, wrt="b")
    assert_parity(of_bias, {"w": jnp.zeros(4), "b": want["b"]})


@pytest.mark.slow
def test_a_second_derivative_is_right():
    """By the parameters and by the strength, of the gradient along a direction."""
    options = {**TO_THE_END, "num_iterations": 8, "tolerance": 1e-13}

    def along(gradient, line, strength):
        slope = gradient(line, strength)
        return slope["w"] @ jnp.arange(4.0) + slope["b"]

    def ours(line, strength):
        return implicit_gradient(ridge, line, *TASKS, strength=strength, **options)

    got = jax.jit(jax.grad(functools.partial(along, ours), (0, 1)))(LINE, 0.5)
    assert_parity(got, jax.grad(functools.partial(along, jax.grad(closed_form)), (0, 1))(LINE, 0.5), tolerance=1e-9)


def saddle(params, scale):
    return scale * (params["w"][0] ** 2 - params["w"][1] ** 2)


def test_a_strength_below_the_negative_curvature_is_told():
    start, scales = {"w": jnp.array([0.0, 1.0])}, jnp.ones(1)
    options = {"optimizer": SGD, "num_steps": 0, "full_output": True}
    weak, strong = [implicit_gradient(saddle, start, scales, scales, strength=s, **options) for s in (1.0, 3.0)]
    assert weak.indefinite.all()
    assert not weak.converged.any()
    assert strong.converged.all()
    assert not strong.indefinite.any()


@pytest.mark.parametrize("strength", [0, 0.0, -1.0, float("nan"), np.float32(0)])
def test_refuses_a_strength_that_is_not_above_zero(strength):
    for call in (of_network, lambda **given: jax.jit(lambda: of_network(**given))()):
        with pytest.raises(ValueError, match=r"strength must (be positive|not be negative or NaN); got"):
            call(strength=strength)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strength": np.ones(2)}, ValueError, r"strength must be one number, of shape \(\)"),
        ({"solver": "lu"}, ValueError, "solver must be one of 'cg', 'neumann', 'identity'; got 'lu'"),
        ({"num_iterations": 0}, ValueError, "num_iterations must be at least 1"),
        ({"num_iterations": 2.5}, TypeError, "num_iterations must be a Python integer"),
        ({"tolerance": -1e-3}, ValueError, "tolerance must not be negative"),
        ({"num_steps": -1}, ValueError, "num_steps must be at least 0"),
        ({"start": PARAMS}, ValueError, r"(?s)start must .* params with an axis of tasks in front.*expected .*\[3,"),
        ({"chunk": 0}, ValueError, "chunk must be at least 1"),
    ],
)
def test_refusals(options, error, message):
    with pytest.raises(error, match=message):
        of_network(**options)


def test_refuses_a_query_that_does_not_depend_on_the_parameters():
    with pytest.raises(ValueError, match="does not depend on the adapted parameters"):
        implicit_gradient(lambda params, x: jnp.sum(x), LINE, TASKS[0][1], TASKS[0][1], strength=1.0, **STEPS)


@pytest.mark.parametrize("solver", ["cg", "neumann", "identity"])
def test_inner_steps_that_diverge_give_nan_and_not_zero(solver):
    given = {"strength": 1.0, "optimizer": optax.sgd(1e308), "num_steps": 3, "solver": solver}
    found = implicit_gradient(mean_square, PARAMS, SUPPORT, QUERY, **given)
    assert all(jnp.isnan(leaf).any() for leaf in jax.tree.leaves(found))

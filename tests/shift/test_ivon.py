"""`shift.ivon` against torch step by step on the same shifts, the posterior of a quadratic, and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.shift
from jaxgrad import shift
from tests.bridge import assert_parity, random_like, to_torch

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PARAMS = {"a": jnp.asarray(np.linspace(-1.0, 1.0, 6).reshape(2, 3)), "b": jnp.asarray(np.linspace(0.5, 2.0, 4))}


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (None, {}),
        (3, {"beta2": 0.9, "clip_radius": 0.5}),
        (None, {"estimator": "squared", "rescale": False, "weight_decay": 0.1}),
    ],
)
def test_matches_torch_step_by_step(samples, options):
    """Three steps from gradients and shifts that are given, with a schedule of rates."""
    ours = shift.ivon(lambda count: 0.1 / (count.astype(float) + 1), 50.0, hessian_init=0.3, **options)
    theirs = torch_ref.shift.ivon(lambda count: 0.1 / (count + 1), 50.0, hessian_init=0.3, **options)
    params, other = PARAMS, to_torch(PARAMS)
    state, other_state = ours.init(params), theirs.init(other)
    like = jax.tree.map(lambda w: jnp.zeros((samples, *w.shape) if samples else w.shape), PARAMS)
    update = jax.jit(ours.update)
    for seed in range(3):
        gradients, shifts = random_like(like, seed), jax.tree.map(lambda x: 0.2 * x, random_like(like, 10 + seed))
        updates, state = update(gradients, shifts, state, params)
        given = map(to_torch, (gradients, shifts))
        other_updates, other_state = theirs.update(*given, other_state, other)
        params = jax.tree.map(jnp.add, params, updates)
        other = {name: other[name] + other_updates[name] for name in other}
    assert_parity(params, other)
    assert_parity([state.momentum, state.hessian], [other_state["momentum"], other_state["hessian"]])


def test_shifts_have_the_variance_of_the_posterior(key):
    """Within five standard errors, rounded to the dtype of the weights; the state is wide."""
    method = shift.ivon(0.1, 50.0, hessian_init=1.0, weight_decay=0.5)
    w = jnp.ones(4, jnp.bfloat16)
    state = method.init(w)._replace(hessian=jnp.arange(4, dtype=jnp.float32))
    moves = method.sample(w, state, key=key, num_samples=4000)
    assert moves.shape == (4000, 4)
    found = np.asarray(moves, float).var(0) * 50 * (np.arange(4) + 0.5)
    assert np.abs(found - 1).max() < 5 * (2 / 4000) ** 0.5 + 0.01
    updates, state = method.update(jnp.ones(4, jnp.bfloat16), moves[0], state, w)
    assert (moves.dtype, updates.dtype, state.hessian.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)


def test_finds_the_minimum_and_the_curvature_of_a_quadratic(key):
    """The mean goes to the minimum, and h to the diagonal of the Hessian, which the posterior's variance is made of."""
    slopes = jnp.array([0.5, 1.0, 2.0, 4.0])

    def loss(w):
        return 0.5 * jnp.sum(slopes * (w - 3.0) ** 2)

    method = shift.ivon(0.05, 100.0, hessian_init=1.0, beta2=0.99, weight_decay=1e-6)

    def step(carry, key):
        w, state = carry
        moves = method.sample(w, state, key=key, num_samples=4)
        gradients = jax.vmap(functools.partial(shift.gradient, loss, w))(moves)
        updates, state = method.update(gradients, moves, state, w)
        return (w + updates, state), state.hessian

    start = jnp.zeros(4)
    (w, _), path = jax.jit(lambda keys: jax.lax.scan(step, (start, method.init(start)), keys))(
        jax.random.split(key, 2000)
    )
    assert jnp.max(jnp.abs(w - 3.0)) < 0.1
    assert jnp.max(jnp.abs(path[1000:].mean(0) / slopes - 1)) < 0.1


def test_squares_are_multiplied_by_the_effective_sample_size():
    """As in ``ivon-opt`` 0.1.3 (``hess_approx="gradsq"``); nothing is kept of h with ``beta2=0``."""
    method = shift.ivon(0.1, 50.0, hessian_init=0.5, beta2=0.0, weight_decay=0.25, estimator="squared")
    w, g = jnp.ones(2), jnp.array([0.1, -0.3])
    _, state = method.update(g, jnp.zeros(2), method.init(w), w)
    found = 50 * g**2
    assert_parity(state.hessian, found + 0.5 * (0.5 - found) ** 2 / 0.75)


def test_rejects_what_is_no_setting():
    with pytest.raises(ValueError, match="effective_sample_size must be positive"):
        shift.ivon(0.1, 0.0)
    with pytest.raises(ValueError, match="hessian_init must be positive"):
        shift.ivon(0.1, 1.0, hessian_init=0.0)
    with pytest.raises(TypeError, match="learning_rate must be a real number; got a str"):
        shift.ivon("fast", 1.0)
    with pytest.raises(ValueError, match=r"learning_rate must not be negative or NaN; got -0\.1"):
        shift.ivon(-0.1, 1.0)
    with pytest.raises(ValueError, match=r"learning_rate must be one number, of shape \(\)"):
        shift.ivon(jnp.ones(2), 1.0)
    with pytest.raises(ValueError, match=r"beta2 must be from 0 to below 1; got 1\.0"):
        shift.ivon(0.1, 1.0, beta2=1.0)
    with pytest.raises(ValueError, match="estimator must be one of 'price', 'squared'"):
        shift.ivon(0.1, 1.0, estimator="exact")
    method = shift.ivon(0.1, 1.0)
    state, zeros = method.init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS)
    with pytest.raises(ValueError, match=r"(?s)gradients must have the structure.*gradients\['b'\]: got nothing"):
        method.update({"a": zeros["a"]}, zeros, state, PARAMS)
    other = {"a": zeros["a"], "c": zeros["b"]}
    with pytest.raises(ValueError, match=r"(?s)shifts must have the structure.*of params.*shifts\['c'\]"):
        method.update(zeros, other, state, PARAMS)
    with pytest.raises(ValueError, match=r"(?s)state.momentum must have.*state.momentum\['a'\]"):
        method.update(zeros, zeros, method.init({"b": zeros["b"]}), PARAMS)
    for call in (lambda s: method.update(zeros, zeros, s, PARAMS), lambda s: method.sample(PARAMS, s, key=None)):
        with pytest.raises(TypeError, match=r"state must be the IvonState that init\(params\).*got a dict"):
            call(PARAMS)
    with pytest.raises(TypeError, match="params must have leaves that are real floating-point arrays"):
        method.init(jnp.arange(3))

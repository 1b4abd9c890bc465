"""`shift.msam_gradient` against torch over several steps, on a quadratic, and the states that it refuses."""

import jax
import jax.numpy as jnp
import optax
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import MSAMState, msam_gradient, msam_init
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


@pytest.fixture(scope="module")
def run():
    """Three steps of SGD with the same momentum, in one program."""
    problem, optimizer = regression(), optax.sgd(0.1, momentum=0.8)

    def step(carry, _):
        params, state, moments = carry
        slope, state = msam_gradient(mean_square, params, state, *problem.data, radius=0.5, momentum=0.8)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(params, updates), state, moments), (slope, state, moments)

    start = problem.params, msam_init(problem.params), optimizer.init(problem.params)
    return jax.jit(lambda start: jax.lax.scan(step, start, None, length=3)[1])(start)


def test_matches_torch_step_by_step(run):
    problem = regression()
    params, state = problem.params_torch, torch_ref.shift.msam_init(problem.params_torch)
    for k in range(3):
        slope, after, _ = _tree.take(run, k)
        got, state = torch_ref.shift.msam_gradient(
            mean_square_torch, params, state, *problem.data_torch, radius=0.5, momentum=0.8
        )
        assert_parity((slope, after.trace), (got, state))
        params = jax.tree.map(lambda w, m: w - 0.1 * m, params, state)


def test_the_trace_is_that_of_sgd(run):
    _, state, (moments, _) = run
    assert_parity(state.trace, moments.trace)


def test_the_shift_leads_uphill():
    """(1 + r / |m|) along the trace: w + r u at a bowl."""
    w = jnp.array([3.0, 4.0])
    slope, state = msam_gradient(lambda w: jnp.sum(w**2) / 2, w, MSAMState(2 * w), radius=0.5)
    assert_parity(slope, jnp.array([3.3, 4.4]))
    assert_parity(state.trace, 0.9 * 2 * w + slope)
    ahead, _ = msam_gradient(lambda w: jnp.sum(w**2) / 2, w, MSAMState(2 * w), radius=-0.5)
    assert_parity(ahead, jnp.array([2.7, 3.6]))


def test_16_bits_are_moved_in_float32():
    def loss(w):
        return jnp.sum((w - 1) ** 2) * w.dtype.type(2.0**10) + jnp.sum(w) * w.dtype.type(2.0**-4)

    w = jnp.ones(4, jnp.bfloat16)
    slope, state = msam_gradient(loss, w, MSAMState(w.astype(jnp.float32)), radius=2.0**-12)
    assert slope.dtype == jnp.bfloat16
    assert state.trace.dtype == jnp.float32
    assert_parity(slope, jnp.full(4, 2.0**-2 + 2.0**-4, jnp.bfloat16))


def test_rejects_states_of_something_else():
    with pytest.raises(TypeError, match=r"state must be the MSAMState that msam_init\(params\).*got a dict"):
        msam_gradient(jnp.sum, jnp.ones(2), {}, radius=0.1)
    with pytest.raises(ValueError, match=r"state.trace: got float64\[3\], expected float64\[2\]"):
        msam_gradient(jnp.sum, jnp.ones(2), msam_init(jnp.ones(3)), radius=0.1)

"""`shift.looksam_gradient` against torch over several steps, its laws, and the states that it refuses."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import LookSAMState, looksam_gradient, looksam_init, sam_gradient
from tests.bridge import assert_parity, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]
OPTIONS = {"radius": 0.5, "every": 2, "alpha": 0.7}


@pytest.fixture(scope="module")
def run():
    """Three steps of descent in one program: the gradients, and the states after them."""
    problem = regression()

    def step(carry, _):
        params, state = carry
        slope, state = looksam_gradient(mean_square, params, state, *problem.data, **OPTIONS)
        return (jax.tree.map(lambda w, g: w - 0.1 * g, params, slope), state), (params, slope, state)

    start = problem.params, looksam_init(problem.params)
    return jax.jit(lambda start: jax.lax.scan(step, start, None, length=3)[1])(start)


def test_matches_torch_step_by_step(run):
    problem = regression()
    params, state = problem.params_torch, torch_ref.shift.looksam_init(problem.params_torch)
    for k in range(3):
        _, slope, after = _tree.take(run, k)
        got, state = torch_ref.shift.looksam_gradient(mean_square_torch, params, state, *problem.data_torch, **OPTIONS)
        assert_parity((slope, after.across), (got, state[1]))
        assert after.step == k + 1
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, got)


def test_the_kept_part_is_across_the_gradient_and_has_its_length_times_alpha(run):
    problem = regression()
    params, slope, state = _tree.take(run, 1)
    plain = jax.jit(jax.grad(mean_square))(params, *problem.data)
    added = jax.tree.map(jnp.subtract, slope, plain)
    assert_parity(_tree.norm(added), 0.7 * _tree.norm(plain))
    first = _tree.take(run, 0)
    plain = jax.jit(jax.grad(mean_square))(first[0], *problem.data)
    assert abs(float(_tree.dot(first[2].across, plain))) < 1e-12
    assert_parity(first[1], sam_gradient(mean_square, first[0], *problem.data, radius=0.5))
    assert_parity(state.across, first[2].across, tolerance=0.0)


def test_steps_on_a_quadratic_in_closed_form():
    """With the cosine of the paper: of ``s = g + r H g / |g|`` the part across, then its length is that of alpha."""
    root = jax.random.normal(jax.random.key(0), (5, 5))
    hessian, w, radius, alpha = root @ root.T, jnp.arange(1.0, 6.0), 0.3, 0.4
    g = hessian @ w
    length = jnp.linalg.norm(g)
    sharp = g + radius * hessian @ g / length
    cosine = g @ sharp / length / jnp.linalg.norm(sharp)
    across = sharp - jnp.linalg.norm(sharp) * cosine * g / length
    state = looksam_init(w)
    for want in (sharp, g + alpha * length / jnp.linalg.norm(across) * across):
        slope, state = looksam_gradient(lambda w: w @ hessian @ w / 2, w, state, radius=radius, every=2, alpha=alpha)
        assert_parity((slope, state.across), (want, across))


def test_nothing_is_added_where_nothing_was_kept():
    """At a zero gradient, and along a single direction, there is no part across: never NaN."""
    state = LookSAMState(jnp.int32(1), jnp.zeros(2))
    slope, after = looksam_gradient(lambda w: jnp.sum(w**2), jnp.array([1.0, 2.0]), state, **OPTIONS)
    assert_parity((slope, after.across), (jnp.array([2.0, 4.0]), jnp.zeros(2)))
    slope, after = looksam_gradient(lambda w: jnp.sum(w**2), jnp.zeros(2), looksam_init(jnp.zeros(2)), **OPTIONS)
    assert_parity((slope, after.across), (jnp.zeros(2), jnp.zeros(2)))


def test_a_state_of_16_bits_is_kept_in_float32():
    w = jnp.ones(3, jnp.bfloat16)
    slope, state = looksam_gradient(lambda w: jnp.sum(w**3), w, looksam_init(w), **OPTIONS)
    assert slope.dtype == jnp.bfloat16
    assert state.across.dtype == jnp.float32


def test_rejects_states_of_something_else():
    w = jnp.ones(2)
    with pytest.raises(TypeError, match=r"state must be the LookSAMState that looksam_init.*got float64\[2\]"):
        looksam_gradient(jnp.sum, w, w, **OPTIONS)
    with pytest.raises(ValueError, match=r"state.across: got float64\[3\], expected float64\[2\]"):
        looksam_gradient(jnp.sum, w, looksam_init(jnp.ones(3)), **OPTIONS)
    with pytest.raises(ValueError, match="every must be at least 1; got 0"):
        looksam_gradient(jnp.sum, w, looksam_init(w), radius=0.1, every=0)


def test_torch_keeps_what_it_is_given():
    tree = {"a": jnp.ones(2)}
    assert_parity(looksam_init(tree).across, torch_ref.shift.looksam_init(to_torch(tree))[1])

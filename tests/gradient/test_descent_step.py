"""`gradient.descent_step`: a new tree, the old one untouched, torch's numbers after two steps, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.gradient
from jaxgrad.gradient import descent_step
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.bridge import assert_parity, to_jax
from tests.problems import mean_square, mean_square_torch, regression


def test_two_steps_match_torch():
    problem = regression()
    before = jax.tree.map(np.array, problem.params)
    ours, theirs = problem.params, problem.params_torch
    for _ in range(2):
        ours = descent_step(mean_square, ours, *problem.data, learning_rate=0.1)
        theirs = torch_ref.gradient.descent_step(mean_square_torch, theirs, *problem.data_torch, learning_rate=0.1)
    assert_parity(ours, theirs, dtypes=True)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, problem.params)), strict=True))


def mean_output(params, x):
    return jnp.mean(mlp_jax(params, x, jax.nn.relu))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unit_step_on_a_zero_input_moves_the_output_bias_by_one(dtype):
    params = to_jax(mlp_params((10, 100, 1), 0), dtype)
    moved = descent_step(mean_output, params, jnp.zeros(10, dtype), learning_rate=1)
    assert moved["layer1"]["bias"] == (np.asarray(params["layer1"]["bias"], np.longdouble) - 1).astype(dtype)
    np.testing.assert_array_equal(moved["layer0"]["weight"], params["layer0"]["weight"])
    assert not np.array_equal(moved["layer0"]["bias"], params["layer0"]["bias"])


def test_held_leaves_stay_as_they_are():
    problem = regression()
    params = {**problem.params, "step": jnp.array(3)}
    moved = descent_step(
        lambda p, x, y: mean_square(dense(p), x, y), params, *problem.data, learning_rate=0.1, wrt=held
    )
    full = descent_step(mean_square, problem.params, *problem.data, learning_rate=0.1)
    assert moved["step"] == 3
    assert_parity(moved["layer0"]["weight"], full["layer0"]["weight"])
    np.testing.assert_array_equal(moved["layer0"]["bias"], problem.params["layer0"]["bias"])


def dense(params):
    return {name: layer for name, layer in params.items() if name != "step"}


def held(path, leaf):
    return path.endswith("weight")


def test_can_be_differentiated_with_respect_to_the_learning_rate():
    problem = regression()

    def after(rate):
        return mean_square(descent_step(mean_square, problem.params, *problem.data, learning_rate=rate), *problem.data)

    after_jitted, h = jax.jit(after), 1e-5
    difference = (after_jitted(0.1 + h) - after_jitted(0.1 - h)) / (2 * h)
    assert_parity(jax.jit(jax.grad(after))(0.1), difference, tolerance=1e-7)


def test_keeps_the_dtype_whatever_the_learning_rate():
    params = {"w": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.float32)}
    moved = descent_step(
        lambda p: jnp.sum(p["w"]).astype(jnp.float32) + jnp.sum(p["b"]), params, learning_rate=np.float64(0.5)
    )
    assert {name: leaf.dtype for name, leaf in moved.items()} == {"w": jnp.bfloat16, "b": jnp.float32}


def test_rejects_what_does_not_fit():
    problem = regression()
    for rate, complaint in ((-0.1, "not be negative or NaN; got -0.1"), (jnp.ones(2), r"got float64\[2\]")):
        with pytest.raises(ValueError, match=f"learning_rate must .*{complaint}"):
            descent_step(mean_square, problem.params, *problem.data, learning_rate=rate)
    with pytest.raises(TypeError, match="learning_rate"):
        descent_step(mean_square, problem.params, *problem.data)

"""`shift.expected_gradient` against a torch loop over the same shifts, a closed form, and its memory."""

import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import expected_gradient, gradient, random_shifts
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def several(tree, count):
    """Draw shifts without the generator, which compiles slowly."""
    return random_like(jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape)), tree), 1)


@pytest.mark.parametrize("unroll", [False, True])
def test_matches_torch_at_the_same_shifts(unroll):
    problem = regression()
    shifts = several(problem.params, 5)
    got = expected_gradient(mean_square, problem.params, shifts, *problem.data, unroll=unroll)
    want = torch_ref.shift.expected_gradient(
        mean_square_torch, problem.params_torch, to_torch(shifts), *problem.data_torch
    )
    assert_parity(got, want)


def test_one_shift_is_the_shifted_gradient():
    problem = regression()
    shifts = several(problem.params, 1)
    want = gradient(mean_square, problem.params, _tree.take(shifts, 0), *problem.data)
    assert_parity(expected_gradient(mean_square, problem.params, shifts, *problem.data), want)


def test_a_partial_shift_moves_what_it_covers():
    problem = regression()
    weights = {name: {"weight": layer["weight"], "bias": None} for name, layer in problem.params.items()}
    shifts = several(weights, 3)
    got = expected_gradient(mean_square, problem.params, shifts, *problem.data, wrt="*/bias")
    full = jax.tree.map(
        lambda s, w: jnp.zeros((3, *w.shape)) if s is None else s,
        shifts,
        problem.params,
        is_leaf=lambda node: node is None,
    )
    assert_parity(got, expected_gradient(mean_square, problem.params, full, *problem.data, wrt="*/bias"))
    assert not got["layer0"]["weight"].any()


def test_the_expectation_over_normal_shifts_of_a_quartic(key):
    """E (w + s z)^3 = w^3 + 3 w s^2: within five standard errors for 40,000 shifts."""
    shifts = random_shifts(jnp.array(2.0), key=key, num_shifts=40_000, scale=0.5)
    got = expected_gradient(lambda w: w**4 / 4, jnp.array(2.0), shifts)
    error = jnp.std((2 + shifts) ** 3) / 200
    assert abs(got - (8 + 3 * 2 * 0.25)) < 5 * error


def test_temporaries_do_not_grow_with_the_number_of_shifts():
    problem = regression((8, 32, 32, 2), 64)

    def temporaries(count):
        shifts = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape)), problem.params)
        fun = jax.jit(functools.partial(expected_gradient, mean_square))
        return fun.lower(problem.params, shifts, *problem.data).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(32) <= temporaries(4) * 1.01


def test_low_precision_is_summed_in_float32():
    shifts = jnp.zeros(1000, jnp.bfloat16)
    got = expected_gradient(lambda w: w * 1.0, jnp.ones((), jnp.bfloat16), shifts)
    assert got.dtype == jnp.bfloat16
    assert got == 1


def test_rejects_shifts_that_do_not_fit():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"shifts\['b'\]: got float64\[4,2\], expected float64\[4,3\]"):
        expected_gradient(lambda p: p["a"].sum(), params, {"b": jnp.ones((4, 2))})
    with pytest.raises(ValueError, match=r"(?s)same leading axis.*shifts\['b'\]: got float64\[5,3\]"):
        expected_gradient(lambda p: p["a"].sum(), params, {"a": jnp.ones((4, 2)), "b": jnp.ones((5, 3))})
    with pytest.raises(ValueError, match="shifts must have at least one array"):
        expected_gradient(lambda p: p["a"].sum(), params, {})
    with pytest.raises(ValueError, match="shifts is empty"):
        expected_gradient(lambda p: p["a"].sum(), params, {"a": jnp.ones((0, 2))})

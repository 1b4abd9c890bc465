"""`shift.expected_gradient` against a torch loop over the same shifts, a closed form, and its memory.

Shifts of low rank have tests of their own, in ``test_low_rank_shifts.py``.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import expected_gradient, gradient, random_shifts
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in

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


@pytest.mark.parametrize("chunk", one_in(2, [None, 2], 1))
def test_an_odd_number_of_shifts_is_taken_both_ways(chunk):
    """The last chunk of three has a place that is filled up; aux has both signs of a shift in turns."""
    problem = regression()
    shifts = several(problem.params, 3)

    def loss(params, x, y):
        return mean_square(params, x, y), params["layer1"]["bias"]

    options = {"antithetic": True, "chunk": chunk, "has_aux": True}
    got, aux = expected_gradient(loss, problem.params, shifts, *problem.data, **options)
    want = torch_ref.shift.expected_gradient(
        mean_square_torch, problem.params_torch, to_torch(shifts), *problem.data_torch, antithetic=True
    )
    assert_parity(got, want)
    moves = jnp.stack([shifts["layer1"]["bias"], -shifts["layer1"]["bias"]], 1).reshape(6, -1)
    assert_parity(aux, problem.params["layer1"]["bias"][None] + moves)


@pytest.mark.parametrize("chunk", one_in(2, [None, 7], 1))
def test_every_example_sees_its_own_shift(chunk):
    problem = regression()
    shifts = several(problem.params, 7)
    options = {"per_example": True}
    got = expected_gradient(mean_square, problem.params, shifts, *problem.data, chunk=chunk, **options)
    want = torch_ref.shift.expected_gradient(
        mean_square_torch, problem.params_torch, to_torch(shifts), *problem.data_torch, **options
    )
    assert_parity(got, want)


def test_the_standard_error_is_that_of_the_mean():
    problem = regression()
    shifts = several(problem.params, 4)
    options = {"antithetic": True, "full_output": True, "wrt": "layer1"}
    got = expected_gradient(mean_square, problem.params, shifts, *problem.data, **options)
    del options["wrt"]
    want = torch_ref.shift.expected_gradient(
        mean_square_torch, problem.params_torch, to_torch(shifts), *problem.data_torch, **options
    )
    for ours, theirs in zip(got[:2], want[:2], strict=True):
        assert_parity(ours["layer1"], theirs["layer1"])
        assert not ours["layer0"]["weight"].any()
    assert_parity(got.value, want.value)


def test_the_mean_of_losses_of_16_bits_is_kept_in_float32():
    """Losses 1 and 1 + 2^-7, whose mean bfloat16 does not have."""
    shifts = jnp.array([0.0, 2.0**-7], jnp.bfloat16)
    got = expected_gradient(jnp.abs, jnp.array(1.0, jnp.bfloat16), shifts, full_output=True)
    assert (got.value.dtype, got.gradient.dtype) == (jnp.float32, jnp.bfloat16)
    assert got.value == 1 + 2.0**-8


def test_what_is_drawn_are_the_numbers_of_random_shifts(key):
    """Of the leaves that count; the others stay where they are."""
    params = {"a": jnp.arange(1.0, 3.0), "b": jnp.ones(2)}

    def loss(params, x):
        return jnp.sum(jnp.sin(params["a"]) * params["b"] * x)

    x, options = jnp.array([1.0, 2.0]), {"distribution": "uniform", "scale": 0.1}
    got = expected_gradient(loss, params, None, x, key=key, num_samples=3, wrt="a", antithetic=True, **options)
    rows = jax.vmap(lambda k: random_shifts({"a": params["a"]}, key=k, num_shifts=1, **options))(
        jax.random.split(key, 3)
    )
    shifts = jax.tree.map(lambda leaf: leaf[:, 0], rows)
    assert_parity(got, expected_gradient(loss, params, shifts, x, wrt="a", antithetic=True))
    assert not got["b"].any()


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


@pytest.mark.usefixtures("compiled_fully")
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


def test_rejects_what_is_said_twice_or_not_at_all(key):
    w = jnp.ones(2)
    shifts = jnp.ones((3, 2))

    def loss(w, x):
        return jnp.sum(w * x)

    def refuse(match, shifts, *data, error=ValueError, **options):
        with pytest.raises(error, match=match):
            expected_gradient(loss, w, shifts, *data, **options)

    refuse("give the shifts themselves, or shifts=None and key= and num_samples=", None, w)
    refuse("shifts=None and key= and num_samples=", None, w, key=key)
    refuse("key= alone, since every example has one", None, shifts, key=key, num_samples=3, per_example=True)
    refuse("shifts are given: leave out key", shifts, w, key=key)
    refuse("shifts are given: leave out key, num_samples and rank", shifts, w, rank=1)
    refuse("shifts are given, and taken as they are: leave out scale", shifts, w, scale=1.0)
    refuse("one shift an example: got 3 shifts for 2 examples", shifts, jnp.ones((2, 2)), per_example=True)
    refuse("shifts of low rank are normal", None, w, key=key, num_samples=3, rank=1, distribution="uniform")
    refuse("rank must be at least 1", None, w, key=key, num_samples=3, rank=0)
    refuse("scale must be one number", None, w, key=key, num_samples=3, rank=1, scale=w)
    refuse("two shifts or more; got 1", shifts[:1], w, full_output=True)
    refuse("leave out chunk", shifts, w, full_output=True, chunk=2)
    refuse("chunk must be at least 1", shifts, w, chunk=0)
    refuse("distribution must be one of", None, w, key=key, num_samples=3, distribution="gauss")
    refuse("scale must not be negative", None, w, key=key, num_samples=3, scale=-1.0)
    refuse("key must be one random key", None, w, key=1.0, num_samples=3, error=TypeError)


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

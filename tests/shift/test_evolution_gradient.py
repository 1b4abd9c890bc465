"""`shift.evolution_gradient` against a torch loop over the same pairs, of full and low rank; what it is on average."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree, shift
from jaxgrad.shift import evolution_gradient
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression
from tests.shift.low_rank import dense, factors
from tests.turns import one_in

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

SIZES = (4, 6, 5, 2)


@pytest.mark.parametrize("rank", [None, 1])
def test_matches_torch_at_the_same_shifts(rank):
    """An odd number of pairs, in chunks that do not divide it; the standard error too."""
    problem = regression(SIZES)
    shifts = random_like(jax.tree.map(lambda leaf: jnp.zeros((3, *leaf.shape)), problem.params), 1)
    if rank:
        shifts = factors(mean_square, problem.params, *problem.data, number=3, rank=rank)
    want = torch_ref.shift.evolution_gradient(
        mean_square_torch,
        problem.params_torch,
        to_torch(dense(shifts)),
        *problem.data_torch,
        scale=0.7,
        full_output=True,
    )
    call = functools.partial(evolution_gradient, mean_square, problem.params, shifts, *problem.data, scale=0.7)
    assert_parity(call(chunk=2), want.gradient)
    got = call(full_output=True)
    for ours, theirs in zip(got, want, strict=True):
        assert_parity(ours, theirs)


def test_leaves_that_are_not_moved_have_no_estimate():
    problem = regression(SIZES)
    shifts = {"layer0": None, "layer1": {"bias": jnp.ones((2, 5))}, "layer2": {"bias": jnp.ones((2, 2))}}

    def loss(params, x, y):
        return mean_square(params, x, y), params["layer1"]["bias"]

    got, aux = evolution_gradient(loss, problem.params, shifts, *problem.data, scale=1.0, has_aux=True, wrt="layer1")
    assert jnp.abs(got["layer1"]["bias"]).min() > 0
    assert not any(leaf.any() for leaf in jax.tree.leaves([got["layer0"], got["layer2"], got["layer1"]["weight"]]))
    assert_parity(
        aux - problem.params["layer1"]["bias"][None], jnp.outer(jnp.array([1.0, -1.0, 1.0, -1.0]), jnp.ones(5))
    )


@pytest.mark.parametrize("rank", one_in(2, [None, 2], 1))
def test_the_expectation_is_the_gradient(rank):
    """Of a quadratic: exact for any scale, of low rank too, within five of its own standard errors; in its own unit."""
    w, x = jnp.linspace(-1.0, 1.0, 20).reshape(5, 4), jnp.linspace(0.0, 1.0, 15).reshape(3, 5)

    def loss(w, x):
        return jnp.mean((x @ w + 1.0) ** 2)

    if rank is None:
        shifts = 0.3 * random_like(jnp.zeros((4000, *w.shape)), 1)
    else:
        drawn = factors(loss, w, x, number=4000, rank=rank)
        shifts = dataclasses.replace(drawn, left=drawn.left * (0.3 / rank**0.5))
    found = evolution_gradient(loss, w, shifts, x, scale=0.3, chunk=500, full_output=True)
    slope = jax.grad(loss)(w, x)
    assert jnp.max(jnp.abs(found.gradient - slope) / found.standard_error) < 5
    assert _tree.norm(found.standard_error) < _tree.norm(slope)


@pytest.mark.usefixtures("compiled_fully")
def test_of_low_rank_the_dense_weights_never_exist():
    """64 pairs of shifts of a matrix of 256 x 256: what is held beside the estimate is less than one such matrix."""
    w, x = jnp.ones((256, 256), jnp.float32), jnp.ones((4, 256), jnp.float32)

    def loss(w, x):
        return jnp.mean(jnp.tanh(x @ w))

    draw = functools.partial(shift.low_rank_shifts, loss, num_shifts=64, rank=1, key=jax.random.key(0))
    call = functools.partial(evolution_gradient, loss, scale=0.1)
    compiled = jax.jit(call).lower(w, jax.eval_shape(draw, w, x), x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * 4 * w.size
    # a forward pass for each of 128 losses shares x W: one product of it, thin ones, and the sum of 64 outer products
    assert compiled.cost_analysis()["flops"] < 2 * 256 * 256 * (4 + 64) * 1.5


def test_rejects_what_it_cannot_use(key):
    w = jnp.ones(2)
    with pytest.raises(ValueError, match="scale must be positive; got 0"):
        evolution_gradient(jnp.sum, w, w[None], scale=0.0)
    with pytest.raises(ValueError, match="scale must be one number"):
        evolution_gradient(jnp.sum, w, w[None], scale=w)
    with pytest.raises(ValueError, match="two shifts or more; got 1"):
        evolution_gradient(jnp.sum, w, w[None], scale=1.0, full_output=True)
    with pytest.raises(ValueError, match="give the shifts themselves"):
        evolution_gradient(jnp.sum, w, None, scale=1.0, key=key)


@pytest.mark.parametrize("dtype", one_in(2, [jnp.bfloat16, jnp.float16]))
def test_losses_of_16_bits_are_subtracted_in_float32(dtype):
    """Both losses of a pair are near 9, where the spacing of bfloat16 is 0.06, and differ by less."""

    def loss(w, x):
        return jnp.sum(9 + w * x), w

    w, x, shifts = jnp.ones(1, dtype), jnp.full(1, 0.25, dtype), jnp.full((1, 1), 2.0**-7, dtype)
    got, aux = evolution_gradient(loss, w, shifts, x, scale=2.0**-7, has_aux=True)
    assert (got.item(), got.dtype, aux.dtype) == (0.25, dtype, dtype)

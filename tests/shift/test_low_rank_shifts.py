"""`shift.low_rank_shifts`: a network as it stands at W + A B^T is torch's at the dense sum; moments; what is formed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.shift
from jaxgrad import _tree, shift
from tests import zoo
from tests.bridge import assert_parity, to_torch
from tests.per_example.zoo import ZOO
from tests.problems import mean_square, mean_square_torch, regression
from tests.shift.low_rank import dense, factors

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

EXACT = 1e-12

FAST = ("TransformerEncoder", "linen")
"""Attention by DenseGeneral, and a lookup."""

FAST_LOSSES = ("scan in scan", "lookups", "experts")
"""Weights that a loop shares or goes through, a table that is looked up and multiplied by, a batch of matrices."""


def slow_but(fast, names):
    """Return the names as parameters; all but some are slow."""
    return [pytest.param(*np.atleast_1d(n), marks=() if n in fast else pytest.mark.slow) for n in names]


@pytest.mark.parametrize(("name", "api"), slow_but((FAST,), zoo.PAIRS))
def test_equals_torch_at_the_dense_shift(name, api):
    """Value and gradient with respect to w, of a network of Flax that nobody has edited, for two shifts at once."""
    pair = zoo.pair(name, api)
    shifts = factors(pair.loss, pair.params, *pair.data, number=2, rank=1, scale=0.3)
    assert sum(isinstance(x, shift.LowRank) for x in jax.tree.leaves(shifts, is_leaf=shift_node)) >= 1
    got = shift.expected_gradient(pair.loss, pair.params, shifts, *pair.data)
    moves = zoo.tensors(pair.mapping.to_torch(jax.device_get(dense(shifts)), lead=1))
    want = torch_ref.shift.expected_gradient(pair.loss_torch, pair.params_torch, moves, *pair.data_torch)
    assert_parity(got, pair.mapping.to_jax(want), tolerance=EXACT)


def shift_node(node):
    """Say whether a node of a tree is the shift of a leaf."""
    return isinstance(node, shift.LowRank)


@pytest.mark.parametrize("name", slow_but(FAST_LOSSES, ZOO))
def test_equals_the_dense_shift_of_every_example(name):
    """Scans, cells, experts, tied tables, convolutions of all kinds; where there is no rule the sum is formed."""
    with jax.numpy_dtype_promotion("standard"):  # flax promotes float64 to float32 in norms
        model = ZOO[name]()
        given = (model.loss, model.params, *model.batch)
        shifts = factors(*given, number=3, rank=1, scale=0.3, per_example=True)
        low, full = (
            shift.expected_gradient(*given[:2], moves, *given[2:], per_example=True)
            for moves in (shifts, dense(shifts))
        )
    assert_parity(low, full, tolerance=EXACT)


def test_one_program_for_all_shifts_or_one_for_each_is_the_same():
    """In chunks that do not divide the number of shifts, both ways; with a standard error."""
    problem = regression((4, 6, 5, 2))
    shifts = factors(mean_square, problem.params, *problem.data, number=3, rank=1)
    theirs = to_torch(dense(shifts))
    options = {"antithetic": True}
    want = torch_ref.shift.expected_gradient(
        mean_square_torch, problem.params_torch, theirs, *problem.data_torch, full_output=True, **options
    )
    got = shift.expected_gradient(mean_square, problem.params, shifts, *problem.data, chunk=2, **options)
    assert_parity(got, want.gradient)
    got = shift.expected_gradient(mean_square, problem.params, shifts, *problem.data, full_output=True, **options)
    assert_parity(got._asdict(), want._asdict())


def test_draws_what_expected_gradient_draws(key):
    """And every entry has the standard deviation that was asked for, and no correlation."""
    params, x = {"w": jnp.ones((6, 5)), "b": jnp.ones(5)}, jnp.ones((2, 6))
    options = {"key": key, "rank": 2, "scale": 0.5}
    shifts = shift.low_rank_shifts(affine, params, x, num_shifts=4000, **options)
    draws = dense(shifts)
    assert shifts["w"].rank == 2
    assert shifts["w"].left.shape == (4000, 1, 6, 2)
    assert draws["w"].shape == (4000, 6, 5)
    flat = np.concatenate([draws["w"].reshape(4000, -1), draws["b"]], axis=1)
    # the fourth moment of an entry of rank 2 is 6 times the square of its variance: five standard errors
    assert np.abs(np.cov(flat.T) - 0.25 * np.eye(35)).max() < 5 * 0.25 * (5 / 4000) ** 0.5
    assert np.abs(flat.mean(0)).max() < 5 * 0.5 / 4000**0.5
    got = shift.expected_gradient(affine, params, None, x, num_samples=4000, **options)
    assert_parity(got, shift.expected_gradient(affine, params, shifts, x))


def affine(params, x):
    """A matrix and a bias, in a loss that is no line."""
    return jnp.mean(jnp.tanh(x @ params["w"] + params["b"][None]) ** 2)


@pytest.mark.usefixtures("compiled_fully")
def test_the_dense_weights_never_exist():
    """64 examples, each with its own shift of two matrices of 256 x 256: temporaries are below a single one of each."""
    params, x = {"a": jnp.ones((256, 256), jnp.float32), "b": jnp.ones((256, 256), jnp.float32)}, jnp.ones((64, 256))

    def loss(params, x):
        return jnp.mean(jnp.tanh(x @ params["a"]) @ params["b"])

    def program(rank):
        shifts = jax.eval_shape(
            functools.partial(
                shift.low_rank_shifts, loss, num_shifts=64, rank=1, key=jax.random.key(0), per_example=True
            ),
            params,
            x.astype(jnp.float32),
        )
        full = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((64, *leaf.shape), leaf.dtype), params)
        call = functools.partial(shift.expected_gradient, loss, per_example=True, chunk=64)
        given = shifts if rank else full
        return jax.jit(call).lower(params, given, x.astype(jnp.float32)).compile()

    weights, thin, full = 2 * 256 * 256 * 4, program(1), program(None)
    assert thin.memory_analysis().temp_size_in_bytes < weights
    assert full.memory_analysis().temp_size_in_bytes > 32 * weights
    # 6 products with the matrices for each example, and thin ones
    assert thin.cost_analysis()["flops"] < 1.1 * 64 * 6 * 2 * 256 * 256


def test_low_precision_comes_out_in_its_own_dtype():
    """Of bfloat16 weights."""
    problem = regression((4, 6, 5, 2))
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (problem.params, problem.data))
    shifts = factors(mean_square, problem.params, *problem.data, number=2, rank=1, scale=0.1)
    want = shift.expected_gradient(mean_square, problem.params, shifts, *problem.data)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), shifts)
    got = shift.expected_gradient(mean_square, narrow[0], low, *narrow[1])
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}
    assert_parity(got, want, tolerance=0.05)


@pytest.mark.parametrize("with_bias", [False, True])
def test_low_precision_is_shifted_in_float32(key, with_bias):
    """The outputs of a layer near 1 move by less than the spacing there; they and the loss come out in 16 bits."""

    def loss(params, x):
        outputs = x @ params["w"] + params.get("b", jnp.zeros((), x.dtype))
        return jnp.sum(outputs), 256 * (outputs - 1)

    params, x = {"w": jnp.full((8, 6), 0.125, jnp.bfloat16)}, jnp.ones((2, 8), jnp.bfloat16)
    params |= {"b": jnp.zeros((1, 6), jnp.bfloat16)} if with_bias else {}
    draws = shift.low_rank_shifts(loss, params, x, key=key, num_shifts=1, rank=1, scale=2.0**-12, wrt="w")
    moved = jnp.sum(draws["w"].dense()[0].astype(jnp.float32), 0)
    found, aux = shift.expected_gradient(loss, params, draws, x, has_aux=True)
    assert (aux.dtype, found["w"].dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert_parity(aux[0, 0].astype(jnp.float32), 256 * moved, tolerance=0.02)


def test_rejects_what_is_no_rank(key):
    params, x = {"w": jnp.ones((6, 5)), "b": jnp.ones(5)}, jnp.ones((2, 6))
    draw = functools.partial(shift.low_rank_shifts, affine, params, x, key=key)
    with pytest.raises(ValueError, match="rank must be at least 1; got 0"):
        draw(num_shifts=2, rank=0)
    with pytest.raises(ValueError, match="num_shifts must be at least 1; got 0"):
        draw(num_shifts=0, rank=1)
    with pytest.raises(ValueError, match=r"scale must be one number"):
        draw(num_shifts=2, rank=1, scale=jnp.ones(2))
    with pytest.raises(ValueError, match="selects no leaf"):
        draw(num_shifts=2, rank=1, wrt="c")
    shifts = factors(affine, params, x, number=2, rank=1)
    other = {"w": jnp.ones((5, 6)), "b": jnp.ones(6)}
    with pytest.raises(ValueError, match=r"shifts\['w'\]: got float64\[2,6,5\], expected float64\[2,5,6\]"):
        shift.expected_gradient(affine, other, shifts, jnp.ones((2, 5)))
    assert _tree.leading(shifts) == 2

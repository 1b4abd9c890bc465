"""The functions of ``shift`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import shift
from jaxgrad.verify.cases.families._networks import mlp_params
from tests.contract._example import Example
from tests.problems import mean_square

SIZES = (3, 4, 2)


def inputs():
    rng = np.random.default_rng(0)
    return mlp_params(SIZES, 0), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def inputs_with_a_shift():
    params, x, y = inputs()
    return params, mlp_params(SIZES, 1), x, y


def inputs_with_shifts():
    params, x, y = inputs()
    rows = [mlp_params(SIZES, seed) for seed in (1, 2, 3)]
    return params, jax.tree.map(lambda *leaves: np.stack(leaves), *rows), x, y


def fresh_loss(array):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: mean_square(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def gradient(params, a, x, y, **options):
    return shift.gradient(mean_square, params, a, x, y, **options)


def fresh_gradient(array):
    loss = fresh_loss(array)
    return lambda params, a, x, y: shift.gradient(loss, params, a, x, y)


def value_and_grad(params, a, x, y, **options):
    return shift.value_and_grad(mean_square, params, a, x, y, **options)


def fresh_value_and_grad(array):
    loss = fresh_loss(array)
    return lambda params, a, x, y: shift.value_and_grad(loss, params, a, x, y)


def expected_gradient(params, shifts, x, y, **options):
    return shift.expected_gradient(mean_square, params, shifts, x, y, **options)


def fresh_expected_gradient(array):
    loss = fresh_loss(array)
    return lambda params, shifts, x, y: shift.expected_gradient(loss, params, shifts, x, y)


def evolution_gradient(params, shifts, x, y, **options):
    return shift.evolution_gradient(mean_square, params, shifts, x, y, scale=1.0, **options)


def fresh_evolution_gradient(array):
    loss = fresh_loss(array)
    return lambda params, shifts, x, y: shift.evolution_gradient(loss, params, shifts, x, y, scale=1.0)


def score_function_gradient(params, shifts, x, y, **options):
    return shift.score_function_gradient(mean_square, params, shifts, x, y, scale=1.0, **options)


def fresh_score_function_gradient(array):
    loss = fresh_loss(array)
    return lambda params, shifts, x, y: shift.score_function_gradient(loss, params, shifts, x, y, scale=1.0)


LOW_RANK = {"num_shifts": 2, "rank": 1, "scale": 0.1}


def low_rank_shifts(params, x, y):
    drawn = shift.low_rank_shifts(mean_square, params, x, y, key=jax.random.key(0), **LOW_RANK)
    return dict(enumerate(jax.tree.leaves(drawn)))


def fresh_low_rank_shifts(array):
    loss = fresh_loss(array)
    return lambda params, x, y: shift.low_rank_shifts(loss, params, x, y, key=jax.random.key(0), **LOW_RANK)


def extragradient(params, x, y, **options):
    return shift.extragradient(mean_square, params, x, y, learning_rate=0.1, **options)


def fresh_extragradient(array):
    loss = fresh_loss(array)
    return lambda params, x, y: shift.extragradient(loss, params, x, y, learning_rate=0.1)


def value_and_extragradient(params, x, y, **options):
    return shift.value_and_extragradient(mean_square, params, x, y, learning_rate=0.1, **options)


def fresh_value_and_extragradient(array):
    loss = fresh_loss(array)
    return lambda params, x, y: shift.value_and_extragradient(loss, params, x, y, learning_rate=0.1)


def sam_gradient(params, x, y, **options):
    return shift.sam_gradient(mean_square, params, x, y, radius=0.1, **options)


def fresh_sam_gradient(array):
    loss = fresh_loss(array)
    return lambda params, x, y: shift.sam_gradient(loss, params, x, y, radius=0.1)


def value_and_sam_gradient(params, x, y, **options):
    return shift.value_and_sam_gradient(mean_square, params, x, y, radius=0.1, **options)


def fresh_value_and_sam_gradient(array):
    loss = fresh_loss(array)
    return lambda params, x, y: shift.value_and_sam_gradient(loss, params, x, y, radius=0.1)


CONSTANT_SHIFT = {
    "refuses": ("grad", "jvp"),
    "reason": "the shift is a constant for differentiation, as in the paper, so that a derivative of the result is no"
    " limit of differences; tests/shift/test_sam_gradient.py compares it with that at a fixed shift",
}


def random_shifts(params):
    return shift.random_shifts(params, key=jax.random.key(0), num_shifts=2, scale=0.1)


def fresh_random_shifts(array):
    return lambda params: shift.random_shifts(
        jax.tree.map(lambda leaf: leaf + jnp.sum(array) * 0, params), key=jax.random.key(0), num_shifts=2
    )


ROWS = {
    "shift.gradient": Example(gradient, inputs_with_a_shift, fresh_gradient, sharded=(2, 3)),
    "shift.value_and_grad": Example(value_and_grad, inputs_with_a_shift, fresh_value_and_grad, sharded=(2, 3)),
    "shift.expected_gradient": Example(expected_gradient, inputs_with_shifts, fresh_expected_gradient, sharded=(2, 3)),
    "shift.evolution_gradient": Example(
        evolution_gradient, inputs_with_shifts, fresh_evolution_gradient, sharded=(2, 3)
    ),
    "shift.score_function_gradient": Example(
        score_function_gradient, inputs_with_shifts, fresh_score_function_gradient, sharded=(2, 3)
    ),
    "shift.low_rank_shifts": Example(
        low_rank_shifts,
        inputs,
        fresh_low_rank_shifts,
        sharded=(1, 2),
        refuses=("float64", "float32", "bfloat16", "axis_name"),
        reason="the loss is traced, not evaluated, so that there is no mean over a batch; each dtype has random numbers"
        " of its own: tests/shift/test_low_rank_shifts.py checks the moments",
    ),
    "shift.extragradient": Example(extragradient, inputs, fresh_extragradient, sharded=(1, 2)),
    "shift.value_and_extragradient": Example(
        value_and_extragradient, inputs, fresh_value_and_extragradient, sharded=(1, 2)
    ),
    "shift.sam_gradient": Example(sam_gradient, inputs, fresh_sam_gradient, sharded=(1, 2), **CONSTANT_SHIFT),
    "shift.value_and_sam_gradient": Example(
        value_and_sam_gradient, inputs, fresh_value_and_sam_gradient, sharded=(1, 2), **CONSTANT_SHIFT
    ),
    "shift.random_shifts": Example(
        random_shifts,
        lambda: inputs()[:1],
        fresh_random_shifts,
        refuses=("float64", "float32", "bfloat16", "axis_name"),
        reason="there is no batch to take a mean over; each dtype has random numbers of its own:"
        " tests/shift/test_random_shifts.py checks dtype and moments",
    ),
}

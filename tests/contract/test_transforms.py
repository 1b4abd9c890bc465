"""Every public function under every transformation, in three precisions: one table, one row a function."""

import functools
import gc
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import _jit, _tree
from jaxgrad.verify.judge import compare, worst
from tests.bridge import assert_parity, random_like, to_jax
from tests.contract._table import GROUPED, ROWS, of_inputs
from tests.contract.house import EAGER, is_function, public_functions
from tests.contract.test_sharding import PLACEMENTS
from tests.optimised import optimised
from tests.turns import in_turn, one_in

PRECISIONS = {"float64": 1e-10, "float32": 1e-4, "bfloat16": None}


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """What is tested here is that the programs compose, not how fast they run."""
    with optimised(fully=False):
        yield


def floats(tree):
    """Return the floating-point leaves of a tree."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def energy(tree):
    """Return half the sum of squares of a tree's floating-point leaves: a scalar to differentiate."""
    return 0.5 * sum(jnp.sum(leaf.astype(jnp.float64) ** 2) for leaf in floats(tree))


def as_scalar(example, inputs):
    """Return the row as a scalar function of its differentiated input."""
    i = example.differentiated
    return lambda x: energy(example.call(*inputs[:i], x, *inputs[i + 1 :])), inputs[i]


def under_jit(example, inputs):
    assert_parity(jax.jit(example.call)(*inputs), example.call(*inputs))


def under_vmap(example, inputs):
    """The second entry of the batch is scaled, so that a mixed-up axis shows."""

    def pair(leaf):
        factor = np.asarray([1, 0.9] if jnp.issubdtype(leaf.dtype, jnp.floating) else [1, 1], leaf.dtype)
        return leaf[None] * factor.reshape(2, *[1] * leaf.ndim)

    # by NumPy, which compiles no program for every shape
    batch = jax.tree.map(pair, jax.device_get(inputs))
    mapped = jax.device_get(jax.jit(jax.vmap(example.call))(*to_jax(batch)))
    for i in range(2):
        assert_parity(_tree.take(mapped, i), example.call(*to_jax(_tree.take(batch, i))))


@functools.cache
def gradient(example):
    scalar, x = as_scalar(example, of_inputs(example))
    return jax.jit(jax.grad(scalar))(x)


def under_grad(example, inputs):
    """The gradient against a central difference along a random direction."""
    slope = _tree.dot(gradient(example), random_like(inputs[example.differentiated], 5))
    assert_parity(slope, central_difference(example), tolerance=1e-5)


def under_jvp(example, inputs):
    scalar, x = as_scalar(example, inputs)
    _, slope = jax.jit(lambda x, v: jax.jvp(scalar, (x,), (v,)))(x, random_like(x, 5))
    assert_parity(slope, central_difference(example), tolerance=1e-5)


@functools.cache
def central_difference(example):
    """Return the slope along the one direction, by the fourth-order formula (relative error about 1e-10)."""
    scalar, x = as_scalar(example, of_inputs(example))
    h = 1e-3

    @jax.jit
    def along(x, direction):
        moved = [jax.tree.map(lambda a, d, t=t: a + t * d, x, direction) for t in (h, -h, 2 * h, -2 * h)]
        return jax.lax.map(scalar, jax.tree.map(lambda *leaves: jnp.stack(leaves), *moved))

    up, down, far_up, far_down = along(x, random_like(x, 5))
    return (8 * (up - down) - (far_up - far_down)) / (12 * h)


def under_scan(example, inputs):
    def step(carry, _):
        return carry, example.call(*inputs)

    _, stacked = jax.jit(lambda: jax.lax.scan(step, 0, None, length=2))()
    assert_parity(_tree.take(jax.device_get(stacked), 1), example.call(*inputs))


def under_checkpoint(example, inputs):
    scalar, x = as_scalar(example, inputs)
    assert_parity(jax.jit(jax.grad(jax.checkpoint(scalar)))(x), gradient(example))


def second_call_traces_nothing(example, inputs):
    first = example.call(*inputs)
    with jax.no_tracing(True):
        second = example.call(*inputs)
    assert_parity(second, first, tolerance=0.0)


TRANSFORMS = {
    "jit": under_jit,
    "vmap": under_vmap,
    "grad": under_grad,
    "jvp": under_jvp,
    "scan": under_scan,
    "checkpoint": under_checkpoint,
    "second call": second_call_traces_nothing,
}


def test_every_public_function_has_a_row():
    functions = {name for name, thing in public_functions().items() if is_function(thing) and name not in EAGER}
    assert {name.split(":")[0] for name in ROWS} == functions
    assert all(row.reason for row in ROWS.values() if row.refuses)
    assert {t for row in ROWS.values() for t in row.refuses} <= {*TRANSFORMS, *PRECISIONS, *PLACEMENTS}


IN_TURN = ("jit", "scan", "jvp", "checkpoint", "vmap", "grad")


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        # every second function; the others are laid over devices, in test_sharding.py
        *in_turn(IN_TURN, one_in(2, GROUPED)),
        *(pytest.param(t, *row.values, marks=row.marks) for t in TRANSFORMS if t not in IN_TURN for row in GROUPED),
    ],
)
def test_transform(transform, name):
    example = ROWS[name]
    if transform not in example.refuses:
        TRANSFORMS[transform](example, of_inputs(example))


@pytest.mark.parametrize(
    ("precision", "name"),
    in_turn(PRECISIONS, one_in(4, GROUPED)),
)
def test_precision(precision, name):
    """Results keep the precision of the inputs (bfloat16 may be accumulated in float32) and stay close to float64."""
    example = ROWS[name]
    if precision in example.refuses:
        return
    got = example.call(*of_inputs(example, precision))
    allowed = {jnp.dtype(precision)} | ({jnp.dtype("float32")} if precision == "bfloat16" else set())
    assert {leaf.dtype for leaf in floats(got)} <= allowed
    exact = example.call(*of_inputs(example))
    difference = worst(compare(got, exact))
    assert difference.error <= (PRECISIONS[precision] or example.tolerance_bf16), difference


@pytest.mark.parametrize(
    ("calls", "bound", "name"),
    # the cache is one piece of code: some of the functions show that it is the one that is used
    [pytest.param(2, 1, *row.values, marks=row.marks) for row in one_in(24, GROUPED)]
    + [pytest.param(30, 2, *row.values, marks=[*row.marks, pytest.mark.slow]) for row in GROUPED],
)
def test_fresh_closures_do_not_pile_up(calls, bound, name, monkeypatch):
    """Calls with new closures leave no more than the cache's bound of them alive."""
    monkeypatch.setattr(_jit, "MAX_PROGRAMS", bound)
    example = ROWS[name]
    inputs, alive = of_inputs(example), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for i in range(calls):
            array = np.full((3,), i / calls)
            alive.append(weakref.ref(array))
            jax.block_until_ready(example.fresh(array)(*inputs))
            del array
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= bound

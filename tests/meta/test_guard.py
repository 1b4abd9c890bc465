"""Meta-gradients stay finite where an inner gradient is exactly zero: a table over optax's optimizers.

The network has a dead ReLU unit, so the gradients of its weights are exactly zero. Without the guard Adam and its
relatives give NaN, which spreads to the live weights.
"""

import functools
from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import torch_ref.meta
from jaxgrad.meta import adapt, maml_gradient, value_and_maml_gradient
from jaxgrad.meta._engine._guard import guarded
from jaxgrad.meta._engine._inner import _product
from tests.bridge import assert_parity, to_jax, to_torch
from torch_ref.meta import _optimizers

_rng = np.random.default_rng(0)
_params = {"a": _rng.normal(size=(2, 3)), "b": np.array([0.5, 0.3, -100.0]), "c": _rng.normal(size=(3, 1))}
_task = _rng.normal(size=(1, 4, 2)), _rng.normal(size=(1, 4, 1))
PARAMS, TASK = to_jax((_params, _task))

GIVES_NAN_WITHOUT = {
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01),
    "nadam": optax.nadam(0.01),
    "radam": optax.radam(0.01),
    "amsgrad": optax.amsgrad(0.01),
    "lamb": optax.lamb(0.01),
    "optimistic_adam": optax.optimistic_adam_v2(0.01),
    "adam behind a branch": optax.apply_if_finite(optax.adam(0.01), 3),
}
FINITE_ANYWAY = {
    "sgd": optax.sgd(0.01, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop(0.01),
    "adagrad": optax.adagrad(0.01),
    "lion": optax.lion(0.01),
    "adamax": optax.adamax(0.01),
    "yogi": optax.yogi(0.01),
    "adabelief": optax.adabelief(0.01),
    "novograd": optax.novograd(0.01),
    "adadelta": optax.adadelta(0.01),
    "adafactor": optax.adafactor(0.01),
    "lars": optax.lars(0.01),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
}
ALL = GIVES_NAN_WITHOUT | FINITE_ANYWAY


def loss(params, x, y):
    return jnp.mean((jax.nn.relu(x @ params["a"] + params["b"][None]) @ params["c"] - y) ** 2)


def loss_torch(params, x, y):
    return ((torch.relu(x @ params["a"] + params["b"]) @ params["c"] - y) ** 2).mean()


def unguarded(rule, params):
    """Return the gradient through two steps written with optax alone."""

    def after(params):
        state, task = rule.init(params), tuple(leaf[0] for leaf in TASK)
        for _ in range(2):
            updates, state = rule.update(jax.grad(loss)(params, *task), state, params)
            params = optax.apply_updates(params, updates)
        return loss(params, *task)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.jit(jax.grad(after))(params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_meta_gradient_is_finite_and_right(name):
    """Against a central difference of the meta-loss along a direction that leaves the dead unit dead."""

    @jax.jit
    def both(params, direction):
        def meta_loss(t):
            moved = jax.tree.map(lambda p, d: p + t * d, params, direction)
            return value_and_maml_gradient(loss, moved, TASK, TASK, optimizer=ALL[name], num_steps=2)[0]

        h = 1e-4
        near, far = meta_loss(h) - meta_loss(-h), meta_loss(2 * h) - meta_loss(-2 * h)
        return maml_gradient(loss, params, TASK, TASK, optimizer=ALL[name], num_steps=2), (8 * near - far) / (12 * h)

    direction = jax.tree.map(lambda leaf: jnp.asarray(_rng.normal(size=leaf.shape)), PARAMS)
    gradient, slope = both(PARAMS, direction)
    flat, along = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (gradient, direction))
    assert jnp.isfinite(flat).all()
    np.testing.assert_allclose(flat @ along, slope, rtol=1e-6)
    plain = jax.flatten_util.ravel_pytree(unguarded(ALL[name], PARAMS))[0]
    assert bool(jnp.isnan(plain).any()) == (name in GIVES_NAN_WITHOUT)
    np.testing.assert_allclose(flat, jnp.where(jnp.isnan(plain), flat, plain), rtol=1e-10, atol=1e-12)


def test_matches_torch_with_a_dead_unit():
    got = maml_gradient(loss, PARAMS, TASK, TASK, optimizer=ALL["adam"], num_steps=2)
    params, task = to_torch((_params, _task))
    rule = _optimizers.adam(0.01)
    want = torch_ref.meta.maml_gradient(loss_torch, params, task, task, optimizer=rule, num_steps=2)
    assert_parity(got, want)


def test_adam_at_a_zero_gradient_has_its_true_derivative():
    """The first step is ``-r g / (|g| + eps)``, whose slope at ``g = 0`` is ``-r / eps``."""
    rule = optax.adam(0.5, eps=0.25)

    def after(w):
        return adapt(lambda p: 0.5 * p["w"] ** 2, {"w": w}, (), optimizer=rule, num_steps=1)["w"]

    assert_parity(jax.grad(after)(0.0), 1 - 0.5 / 0.25)
    assert_parity(jax.jvp(after, (0.0,), (1.0,))[1], 1 - 0.5 / 0.25)


def test_clipping_a_gradient_of_zero():
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.25))

    def after(w):
        return adapt(lambda p: 0.5 * p["w"] ** 2, {"w": w}, (), optimizer=rule, num_steps=1)["w"]

    assert_parity(jax.grad(after)(0.0), 0.75)


@pytest.mark.parametrize("num_steps", [3, 7])
def test_radam_at_ordinary_weights_where_its_root_is_of_a_negative_number(num_steps):
    """Its first five steps take the root in the branch that is not taken; the forward derivative is right there."""

    def smooth(params, x, y):
        return jnp.mean((jnp.tanh(x @ params) - y) ** 2)

    rng = np.random.default_rng(0)
    w, x, y = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.normal(size=5))
    rule = optax.radam(0.01)

    def after(w):
        state, start = rule.init(w), w
        for _ in range(num_steps):
            updates, state = rule.update(jax.grad(smooth)(start, x, y), state, start)
            start = optax.apply_updates(start, updates)
        return smooth(start, x, y)

    with jax.numpy_dtype_promotion("standard"):
        want = jax.jit(jax.jacfwd(after))(w)
    task = x[None], y[None]
    assert_parity(maml_gradient(smooth, w, task, task, optimizer=rule, num_steps=num_steps), want)


def test_a_step_that_is_not_finite_has_no_finite_derivative():
    """The slope of the quotient is left out of the step, and the step's derivative must not look finite for that."""
    rule = optax.stateless(lambda updates, _: jax.tree.map(lambda g: g / (g - g), updates))

    def after(w):
        return jnp.tanh(adapt(lambda p: 0.5 * p**2, w, (), optimizer=rule, num_steps=1))

    assert after(2.0) == 1.0
    assert jnp.isnan(jax.grad(after)(2.0))


def test_slopes_in_a_branch_not_taken_do_not_count_in_either_mode_or_order():
    def fun(x):
        root = jnp.sqrt(x - 5) * jnp.log(x - 5) * x**-0.5 + jnp.arccos(x + 3) + (x - x) ** -2.0
        return jnp.where(x > 5, root, jnp.dot(x * jnp.ones(2), x * jnp.ones(2)) * x)

    run = functools.partial(guarded, fun)
    for derivative, want in [
        (jax.grad(run), 24.0),
        (jax.jacfwd(run), 24.0),
        (jax.grad(jax.grad(run)), 24.0),
        (jax.jacfwd(jax.grad(run)), 24.0),
        (jax.grad(jax.grad(jax.grad(run))), 12.0),
    ]:
        assert_parity(jax.jit(derivative)(2.0), want)


def test_loops_are_entered():
    def scanned(x):
        return jax.lax.scan(lambda c, _: (c + jnp.sqrt(x), c), x, None, length=2)[0]

    def looped(x):
        return jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + jnp.sqrt(x)), (0, x))[1]

    assert_parity(jax.jit(jax.grad(functools.partial(guarded, scanned)))(0.0), 1.0)
    assert_parity(jax.jit(jax.jacfwd(functools.partial(guarded, looped)))(0.0), 1.0)
    assert_parity(jax.jit(jax.jacfwd(functools.partial(guarded, looped)))(4.0), 1.5)


class Searching(NamedTuple):
    """An optimizer that halves its rate until a test holds, in a loop of unknown length, as a line search does."""

    def init(self, params):
        return ()

    def update(self, gradient, state, params=None):
        rate = jax.lax.while_loop(lambda r: r > 0.1, lambda r: r / 2, optax.tree.norm(gradient))
        return jax.tree.map(lambda g: -rate * g, gradient), state


def test_a_search_is_refused_with_what_to_take():
    with pytest.raises(ValueError, match=r"optimizer cannot be differentiated in reverse.*linesearch=None"):
        maml_gradient(loss, PARAMS, TASK, TASK, optimizer=Searching(), num_steps=1)


@pytest.mark.slow
def test_a_line_search_is_refused_with_what_to_take():
    with pytest.raises(ValueError, match=r"optimizer cannot be differentiated in reverse.*linesearch=None"):
        maml_gradient(loss, PARAMS, TASK, TASK, optimizer=optax.lbfgs(), num_steps=1)


@pytest.mark.slow
def test_what_to_take_for_a_line_search_gives_finite_gradients():
    rule = optax.lbfgs(0.1, linesearch=None)
    got = maml_gradient(loss, PARAMS, TASK, TASK, optimizer=rule, num_steps=2)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


def quotients(x, y):
    return {"root": jnp.sqrt(x), "inverse root": jax.lax.rsqrt(x), "quotient": y / x, "other": jnp.floor(x) // 2}


def test_values_are_those_of_the_function_itself():
    x = jnp.array([0.0, 4.0, -1.0, jnp.nan, jnp.inf]), jnp.array([0.0, 3.0, -1.0, 1.0, 2.0])
    jax.tree.map(np.testing.assert_array_equal, jax.jit(functools.partial(guarded, quotients))(*x), quotients(*x))


def test_derivatives_are_those_of_the_function_where_it_is_regular():
    x = jnp.array([4.0, 0.3]), jnp.array([3.0, -1.0])
    got = jax.jit(jax.jacrev(functools.partial(guarded, quotients), argnums=(0, 1)))(*x)
    assert_parity(got, jax.jit(jax.jacrev(quotients, argnums=(0, 1)))(*x))


@pytest.mark.parametrize(
    "root",
    [jax.lax.rsqrt, lambda v: v**-0.5, lambda v: 1 / jnp.sqrt(v), lambda v: jnp.sqrt(v**-1), lambda v: jnp.sqrt(v) / v],
)
def test_slopes_that_overflow_are_not_left_out(root):
    """Adafactor's step at a gradient of 1e-14: the slope of the root is -5e41, more than float32 has."""

    def step(g):
        return g * root(g * g + jnp.asarray(1e-30, g.dtype))

    want = jax.grad(step)(1e-14)
    got = jax.jit(jax.grad(functools.partial(guarded, step)))(jnp.float32(1e-14))
    np.testing.assert_allclose(got, want, rtol=1e-3)


def test_derivatives_are_zero_where_it_is_singular():
    slopes = jax.jit(jax.jacfwd(functools.partial(guarded, quotients)))(jnp.zeros(()), jnp.ones(()))
    assert {name: slope.item() for name, slope in slopes.items()} == dict.fromkeys(slopes, 0.0)


def test_enters_calls_and_branches_and_leaves_rules_alone():
    @jax.custom_jvp
    def double(x):
        return 2 * x

    double.defjvp(lambda primals, tangents: (double(*primals), 7 * tangents[0]))

    def fun(x):
        inner = jax.jit(lambda x: jax.lax.cond(x > 0, jnp.sqrt, lambda x: jnp.sqrt(x) + x, x))(x)
        return jax.lax.fori_loop(0, 2, lambda _, y: y + 1, inner) + double(x)

    assert_parity(jax.jit(functools.partial(guarded, fun))(0.0), fun(0.0))
    assert_parity(jax.jit(jax.grad(functools.partial(guarded, fun)))(0.0), 8.0)


def cubes(w, x):
    """The second weight's gradient is zero where the second input is, with all of its derivatives."""
    return jnp.sum((w * x) ** 3)


HALF = functools.partial(jnp.asarray, dtype=jnp.float16)


def test_in_float16_a_step_is_computed_in_float32_and_rounded_once():
    """By optax in float16 the second weight is 0 / 0: ``eps=1e-8`` is 0 there."""
    rule, w, x = optax.adam(0.1), [0.5, 0.25], [1.0, 0.0]
    got = adapt(cubes, HALF(w), (HALF(x),), optimizer=rule, num_steps=3, full_output=True)
    wide = adapt(cubes, jnp.float32(w), (jnp.float32(x),), optimizer=rule, num_steps=3)
    assert got.params.dtype == jnp.float16
    assert got.params[1] == 0.25
    np.testing.assert_allclose(got.params, wide, rtol=2e-3)
    # the square of a small gradient is 0 in float16, and the step after it too large
    assert {leaf.dtype.name for leaf in jax.tree.leaves(got.opt_state)} == {"int32", "float32"}


def test_a_state_that_is_given_in_16_bits_keeps_its_dtypes():
    rule, w, x = optax.adam(0.1), jnp.bfloat16([0.5, 0.25]), jnp.bfloat16([1.0, 0.5])
    with jax.numpy_dtype_promotion("standard"):
        state = rule.init(w)
        updates, want = rule.update(jax.grad(cubes)(w, x), state, w)
    got = adapt(cubes, w, (x,), optimizer=rule, num_steps=1, opt_state=state, full_output=True)
    assert jax.tree.map(jnp.result_type, got.opt_state) == jax.tree.map(jnp.result_type, state)
    # where bfloat16 was right, it is the same but for the rounding
    close = functools.partial(np.testing.assert_allclose, rtol=2 * float(jnp.finfo(jnp.bfloat16).eps))
    jax.tree.map(lambda a, b: close(np.float32(a), np.float32(b)), (got.params, got.opt_state), (w + updates, want))


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(optax.adam(0.01), id="adam"),
        pytest.param(optax.adafactor(0.01), id="adafactor", marks=pytest.mark.slow),
    ],
)
def test_in_float16_a_slope_that_does_not_fit_does_not_spread(rule):
    """At a gradient of zero, 1e8 or 1e15: it comes back to the second weight, whose row of the Hessian is zero."""
    w = [0.5, 0.25]
    support, query = [[1.0, 0.0]], [[1.0, 1.0]]

    def gradient(dtype, **memory):
        given = (jnp.asarray(a, dtype) for a in (w, support, query))
        w_, s, q = given
        return maml_gradient(cubes, w_, (s,), (q,), optimizer=rule, num_steps=1, **memory)

    np.testing.assert_allclose(gradient(jnp.float16), gradient(jnp.float64), rtol=3e-3)
    # reverse over reverse passes it on in float16: a number that is missing is not made up
    assert jnp.isnan(gradient(jnp.float16, memory="checkpoint")).any()


def test_in_float16_every_size_of_what_comes_back_is_multiplied_with_all_bits():
    rows, sizes = jnp.array([1, 2**-2, 2**-6, 2**-14, 0]), jnp.array([1.0, 2**10, 2**13, 2**29, 2**55])

    def times(v):
        return rows.astype(v.dtype) * v

    # two thirds: a number with all bits set, so that one that is cut off shows
    along = jnp.float32(sizes * 2 / 3)
    got = _product(times, along, HALF(rows))
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got, np.float64(rows * sizes * 2 / 3), rtol=float(jnp.finfo(jnp.float16).eps))


def test_a_step_that_overflows_in_float16_alone_has_no_finite_derivative():
    def after(w):
        return jnp.tanh(adapt(lambda p: -p, w, (), optimizer=optax.sgd(1e4), num_steps=1))

    assert after(HALF(6e4)) == 1.0
    assert jnp.isnan(jax.grad(after)(HALF(6e4)))
    assert jax.grad(after)(HALF(-1e4)) == 1.0


@pytest.mark.parametrize(("size", "factor"), [(2.0, 1 / 2.0), (0.5, 1.0)])
def test_lbfgs_is_differentiated_but_for_the_factor_that_optax_stops(size, factor):
    """Its first step is that of gradient descent times min(1, 1 / |gradient|), which counts as a constant."""
    w, goal, rate = size * jnp.array([0.6, 0.8]), jnp.array([3.0, 1.0]), 0.1

    def half_square(w, x):
        return 0.5 * jnp.sum((w - x) ** 2)

    rule = optax.lbfgs(rate, linesearch=None)
    got = maml_gradient(half_square, w, (jnp.zeros((1, 2)),), (goal[None],), optimizer=rule, num_steps=1)
    assert_parity(got, (1 - rate * factor) * ((1 - rate * factor) * w - goal))


def test_optimizers_that_ask_for_the_loss_or_its_gradient_get_them():
    """SAM at the weights that a step of length 0.1 reaches; Hutchinson's estimate of a diagonal, which is exact."""
    w, x, rate = jnp.array([0.5, 0.25]), jnp.array([1.0, 2.0]), 0.1
    sam = optax.contrib.sam(optax.sgd(rate), optax.sgd(1.0), opaque_mode=True)
    slope = jax.grad(cubes)
    assert_parity(adapt(cubes, w, (x,), optimizer=sam, num_steps=1), w - rate * slope(w + slope(w, x), x))
    diagonal = optax.contrib.hutchinson_estimator_diag_hessian()
    assert_parity(adapt(cubes, w, (x,), optimizer=diagonal, num_steps=1), w + 6 * w * x**3)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (optax.lookahead(optax.sgd(0.1), 2, 0.5), r"optimizer fails in the inner loop.*no attribute .?fast.?; write"),
        (
            optax.contrib.differentially_private_aggregate(1.0, 0.1, jax.random.key(0)),
            r"optimizer must return updates with the .* shapes of params; got it is float64\[\] for float64\[2\]",
        ),
        (optax.stateless(lambda updates, _: {"a": updates}), r"optimizer must return updates with the structure"),
        (
            optax.chain(optax.monitor({"size": optax.tree.norm}), optax.sgd(0.1)),
            r"optimizer must keep .*got state\[0\]\.measurements\['size'\] is float64\[\] after .*; write .*snapshot",
        ),
        (
            optax.GradientTransformation(lambda w: w[:1], lambda g, _, __: (g, g)),
            r"optimizer must keep .* shapes of its state.*state is float64\[2\] after a step, float64\[1\] before it",
        ),
    ],
)
def test_optimizers_that_the_inner_loop_cannot_serve_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        adapt(cubes, jnp.ones(2), (jnp.ones(2),), optimizer=rule, num_steps=1)

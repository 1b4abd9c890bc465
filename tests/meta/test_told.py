"""What the meta-gradients tell with ``full_output=True``: which task diverged, and at which step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad import meta
from tests.bridge import assert_parity
from tests.meta.tasks import OPTIMIZERS, PARAMS, QUERY, SUPPORT
from tests.problems import mean_square
from tests.turns import one_in

START = {"w": jnp.array([1.0, -2.0])}
SCALES = jnp.array([0.5, 1e60, 1e100, 1e110])
"""Of the four tasks' losses; a step of size 1 multiplies the parameters by one minus the scale."""
FIRST = [-1, 3, 2, 1]
"""The loss after k steps is 5/2 s (1 - s)^2k, infinite from 1.8e308 on: that of 1e60 is 2.5e300 at 2, 2.5e420 at 3."""
STEPS = {"optimizer": optax.sgd(1.0), "num_steps": 4}
MODES = ("unrolled", "checkpoint", "nested", "mixed-mode")


def bowl(params, scale):
    return 0.5 * scale * jnp.sum(params["w"] ** 2)


def maml(loss, params, support, query, **options):
    return meta.maml_gradient(loss, params, support, query, **options)


def first_order(loss, params, support, query, **options):
    return meta.first_order_gradient(loss, params, support, query, **options)


def meta_sgd(loss, params, support, query, **options):
    rates = jax.tree.map(lambda leaf: jnp.ones((), leaf.dtype), params)
    return meta.meta_sgd_gradient(loss, params, rates, support, query, **options)


def truncated(loss, params, support, query, window=2, **options):
    return meta.truncated_gradient(loss, params, support, query, window=window, **options)


def reptile(loss, params, support, query, **options):
    return meta.reptile_gradient(loss, params, support, **options)


def implicit(loss, params, support, query, **options):
    return meta.implicit_gradient(loss, params, support, query, strength=1.0, **options)


# the last of them has a result of its own
OVER_TASKS = [maml, first_order, meta_sgd, truncated, reptile, implicit]


@pytest.mark.parametrize("fun", OVER_TASKS)
def test_names_the_step_of_every_task_that_diverged(fun):
    found = fun(bowl, START, SCALES, SCALES, **STEPS, full_output=True)
    assert found.diverged_at.tolist() == FIRST
    assert jnp.issubdtype(found.diverged_at.dtype, jnp.integer)
    assert not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found.gradient))


@pytest.mark.parametrize("fun", OVER_TASKS[:-1])
def test_losses_are_those_that_the_steps_start_from(fun):
    """In closed form, s/2 |w|^2 (1 - s)^2k, which where it is finite is right to rounding, and else infinite or NaN."""
    losses = np.asarray(fun(bowl, START, SCALES, SCALES, **STEPS, full_output=True).losses)
    scales = np.asarray(SCALES)[:, None]
    with np.errstate(over="ignore"):
        want = 2.5 * scales * (1 - scales) ** (2.0 * np.arange(4))
    assert losses.shape == (4, 4)
    np.testing.assert_array_equal(np.isfinite(losses), np.isfinite(want))
    np.testing.assert_allclose(losses[np.isfinite(want)], want[np.isfinite(want)], rtol=1e-12)


@pytest.mark.parametrize("memory", MODES)
def test_every_memory_mode_names_the_same(memory):
    options = {**STEPS, "memory": memory, "full_output": True}
    found, plain = maml(bowl, START, SCALES, SCALES, **options), adapted(SCALES)
    assert found.diverged_at.tolist() == FIRST
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-14)


def adapted(scales):
    """Return what `adapt` tells of every task."""
    return jax.vmap(lambda scale: meta.adapt(bowl, START, scale, **STEPS, full_output=True))(scales)


@pytest.mark.parametrize(("dtype", "where"), [(jnp.float32, [-1, 2, 1]), (jnp.float64, [-1, -1, -1])])
def test_what_overflows_float32_need_not_overflow_float64(dtype, where):
    scales = jnp.array([0.5, 1e10, 1e15], dtype)
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), START)
    found = maml(bowl, start, scales, scales, **STEPS, full_output=True)
    assert found.diverged_at.tolist() == where
    assert jnp.isfinite(found.gradient["w"]).all() == (dtype == jnp.float64)


def test_a_last_step_that_overflows_is_named_by_the_number_of_steps():
    """The gradient is [2, -4], a step of it leads beyond 1.8e308, and no step starts there."""
    scale = jnp.array([2.0])
    found = maml(bowl, START, scale, scale, optimizer=optax.sgd(1.7e308), num_steps=1, full_output=True)
    assert found.diverged_at.tolist() == [1]


@pytest.mark.parametrize("window", [0, 1, 4])
def test_a_window_tells_of_the_steps_before_it_too(window):
    found = truncated(bowl, START, SCALES, SCALES, window=window, **STEPS, full_output=True)
    assert found.diverged_at.tolist() == FIRST
    np.testing.assert_allclose(found.losses, adapted(SCALES).losses, rtol=1e-14)


@pytest.mark.parametrize(("fun", "chunk"), list(zip(OVER_TASKS, [2, None, 2, 2, 2, 2], strict=True)))
def test_is_told_beside_the_same_gradient_and_value(fun, chunk):
    """Three tasks of a network; nothing diverges."""
    options = {"optimizer": OPTIMIZERS["momentum"][0], "num_steps": 2, "chunk": chunk}
    told = fun(mean_square, PARAMS, SUPPORT, QUERY, **options, full_output=True)
    assert_parity(told.gradient, fun(mean_square, PARAMS, SUPPORT, QUERY, **options))
    assert told.diverged_at.tolist() == [-1, -1, -1]
    assert (told.value is None) == (fun is reptile)
    if fun in (maml, first_order, truncated):
        of_value = meta.value_and_maml_gradient if fun is maml else meta.value_and_first_order_gradient
        assert_parity(told.value, of_value(mean_square, PARAMS, SUPPORT, QUERY, **options)[0])


@pytest.mark.parametrize("fun", one_in(3, OVER_TASKS, 1))
def test_an_aux_stands_beside_it(fun):
    def with_aux(params, x, y):
        return mean_square(params, x, y), jnp.sum(x)

    options = {**STEPS, "optimizer": OPTIMIZERS["sgd"][0], "has_aux": True}
    told, aux = fun(with_aux, PARAMS, SUPPORT, QUERY, **options, full_output=True)
    gradient, same = fun(with_aux, PARAMS, SUPPORT, QUERY, **options)
    assert_parity((told.gradient, aux), (gradient, same))
    assert told.diverged_at.tolist() == [-1, -1, -1]


def test_under_vmap_jit_and_a_derivative():
    """Starts along an axis of their own, the second at zero, which no step leaves; and the gradient of a gradient."""

    def told(params):
        return maml(bowl, params, SCALES[:2], SCALES[:2], **STEPS, full_output=True)

    starts = {"w": jnp.stack([START["w"], jnp.zeros(2)])}
    assert jax.jit(jax.vmap(told))(starts).diverged_at.tolist() == [FIRST[:2], [-1, -1]]

    def slope(params, **options):
        result = maml(bowl, params, SCALES[:1], SCALES[:1], **STEPS, **options)
        return jnp.sum((result.gradient if options else result)["w"] ** 2)

    assert_parity(jax.grad(lambda params: slope(params, full_output=True))(START), jax.grad(slope)(START))


def test_over_devices_each_tells_of_its_own_tasks():
    def told(params, scales):
        found = maml(bowl, params, scales, scales, **STEPS, full_output=True, axis_name="d")
        return found.value, found.losses, found.diverged_at

    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(told, mesh=mesh, in_specs=(P(), P("d")), out_specs=(P(), P("d"), P("d")))
    _, losses, first = jax.jit(spread)(START, SCALES)
    assert first.tolist() == FIRST
    np.testing.assert_allclose(losses, adapted(SCALES).losses, rtol=1e-14)


@pytest.mark.parametrize("fun", OVER_TASKS[:-1])
def test_costs_nothing_where_it_is_not_asked_for(fun):
    """The search for the first failure is in the program of the full output alone."""
    programs = [
        str(jax.make_jaxpr(functools.partial(fun, bowl, **STEPS, full_output=asked))(START, SCALES, SCALES))
        for asked in (False, True)
    ]
    assert ["argmax" in program for program in programs] == [False, True]


@pytest.mark.parametrize("method", ["implicit", "unrolled", "forward"])
def test_a_hypergradient_names_the_step_too(method):
    def inner(params, hyper, scale):
        return bowl(params, scale) + hyper * jnp.sum(params["w"])

    def outer(params, hyper, scale):
        return jnp.sum(params["w"] ** 2)

    given = inner, outer, START, jnp.array(0.1)
    for scale, first in zip(SCALES, FIRST, strict=True):
        found = meta.hypergradient(*given, scale, scale, **STEPS, method=method, full_output=True)
        assert found.diverged_at == first

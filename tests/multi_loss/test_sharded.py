"""Rules over several devices: states, ranges and the device's own losses, with rows that are multiplied in pieces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad import multi_loss
from jaxgrad.multi_loss import aggregated_gradient
from jaxgrad.multi_loss._inner_products import PIECE
from tests.bridge import assert_parity

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SIZE = PIECE + 100
RNG = np.random.default_rng(0)
W, X = RNG.normal(size=SIZE), RNG.normal(size=(8, 3, SIZE)) / 100

RULES = {
    "gradvac": (multi_loss.gradvac(), {"key": jax.random.key(0)}),
    "pcd": (multi_loss.pcd(), {}),
    "cr_mogm": (multi_loss.cr_mogm(multi_loss.mgda), {}),
    "modo": (multi_loss.modo(), {}),
    "sdmgrad": (multi_loss.sdmgrad(), {}),
}
QUICK = ("gradvac", "pcd", "cr_mogm")

SCALARIZERS = {
    name: getattr(multi_loss, name)(**options)
    for name, options in (
        ("uncertainty", {"optimizer": optax.adam(1e-2)}),
        ("imtl_l", {"optimizer": optax.adam(1e-2)}),
        ("dwa", {"steps_per_epoch": 1}),
        ("famo", {"optimizer": optax.adam(1e-2)}),
        ("gradnorm", {"optimizer": optax.adam(1e-2)}),
    )
}


def losses(w, x):
    """Means over examples, of one hidden number for each loss."""
    hidden = jnp.tanh(x @ w)
    return tuple(jnp.mean((hidden[:, k] - k) ** 2) for k in range(3))


def over_devices(fun, out):
    """Give every device a quarter of the examples."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(fun, mesh=mesh, in_specs=(P(), P("d")), out_specs=out))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RULES])
def test_a_state_is_the_same_on_all_devices(name):
    """Two steps: the second reads what the first has left."""
    rule, options = RULES[name]

    def steps(axis_name, w, x):
        def step(carry, _):
            w, state = carry
            found = aggregated_gradient(
                losses, w, x, weighting=rule, state=state, options=options, full_output=True, axis_name=axis_name
            )
            return (w - 0.1 * found.gradient, found.state), found.weights

        return jax.lax.scan(step, (w, rule.init(3)), None, length=2)

    got = over_devices(functools.partial(steps, "d"), P())(W, X)
    assert_parity(got, jax.jit(functools.partial(steps, None))(W, X))


@pytest.mark.slow
def test_the_state_of_a_rule_of_rows_is_the_same_on_all_devices():
    made = multi_loss.excess_mtl()

    def steps(axis_name, w, x):
        def step(carry, _):
            w, state = carry
            rows = multi_loss.gradients(losses, w, x, axis_name=axis_name)
            weights, state = made.update(rows, state)
            return (w - 0.1 * weights @ rows, state), weights

        return jax.lax.scan(step, (w, made.init(3, w)), None, length=3)

    got = over_devices(functools.partial(steps, "d"), P())(W, X)
    assert_parity(got, jax.jit(functools.partial(steps, None))(W, X))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALARIZERS)
def test_the_state_of_a_scalarizer_is_the_same_on_all_devices(name):
    """Of losses that are the mean over the devices, in several steps."""
    made = SCALARIZERS[name]

    def steps(axis_name, w, x):
        def joined(w, state, x):
            mean = losses(w, x) if axis_name is None else jax.lax.pmean(losses(w, x), axis_name)
            values = jnp.stack(mean)
            return made.update(
                values, state, **({"norms": jax.lax.stop_gradient(values)} if name == "gradnorm" else {})
            )

        def step(carry, _):
            w, state = carry
            slope, state = jax.grad(joined, has_aux=True)(w, state, x)
            return (w - 0.1 * slope, state), None

        return jax.lax.scan(step, (w, made.init(3)), None, length=4)[0]

    got = over_devices(functools.partial(steps, "d"), P())(W, X)
    assert_parity(got, jax.jit(functools.partial(steps, None))(W, X))


def scaled(factor, w, x):
    return tuple(factor * loss for loss in losses(w, x))


def vector(scale, axis_name, weighting, w, x):
    return aggregated_gradient(functools.partial(scaled, scale), w, x, weighting=weighting, axis_name=axis_name)


def test_the_devices_own_losses_and_norms_out_of_range():
    """Without an axis the losses are the device's own; float32 holds no square of a norm of 1e25."""
    upgrad, fairgrad = multi_loss.upgrad, multi_loss.fairgrad

    def both(w, x):
        narrow = vector(1e25, "d", fairgrad, w.astype(np.float32), x.astype(np.float32))
        return vector(1.0, None, upgrad, w, x)[None], narrow

    own, narrow = over_devices(both, (P("d"), P()))(W, X)
    assert_parity(own, jax.jit(jax.vmap(functools.partial(vector, 1.0, None, upgrad, W)))(X.reshape(4, 2, 3, SIZE)))
    assert narrow.dtype == np.float32
    wide = jax.jit(functools.partial(vector, 1e25, None, fairgrad))(W, X)
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-5 * np.abs(wide).max())

"""The engine inside of `shard_map` with its checks, and on sharded arrays: as on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgrad import nth
from tests.bridge import assert_parity, random_like
from tests.turns import in_turn, one_in

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

POINTS = random_like(jnp.asarray(np.ones((8, 3))), 0)
WEIGHTS = random_like(jnp.asarray(np.ones((3, 3))), 1)


def layers(v, w):
    return jnp.sum(jnp.tanh(w @ v) * v[::-1])


def scanned(v, w):
    def step(c, row):
        return jnp.tanh(row @ c) + 0.1 * c + jnp.sin(v), jnp.sum(c) ** 2

    last, sums = lax.scan(step, jnp.zeros_like(v), jnp.stack([w, w / 2]))
    return jnp.sum(last * sums[1])


def branched(v, w):
    return lax.cond(v[0] > 0.3, lambda z: jnp.sum(jnp.sin(w @ z)), lambda z: jnp.sum(z**3), v)


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


sine.defjvp(lambda p, t: (sine(p[0]), jnp.cos(p[0]) * t[0]))


def ruled(v, w):
    return jnp.sum(sine(w @ v) * jnp.abs(v) ** 2.5)


CALLS = {
    "laplacian": lambda f: lambda v, w: nth.laplacian(f, v, w),
    "weighted_laplacian": lambda f: lambda v, w: nth.weighted_laplacian(f, v, jnp.arange(1.0, 4.0), w),
    "second_derivatives": lambda f: lambda v, w: nth.second_derivatives(f, v, w),
    "biharmonic": lambda f: lambda v, w: nth.biharmonic(f, v, w),
    "directional": lambda f: lambda v, w: nth.directional(f, v, jnp.ones(3), 3, w),
    "divergence": lambda f: lambda v, w: nth.divergence(lambda z: z * f(z, w), v),
    "mixed_partial": lambda f: lambda v, w: nth.mixed_partial(f, v, (1, 0, 1), w),
    "all_mixed": lambda f: lambda v, w: nth.all_mixed(f, v, 2, w),
    "derivatives": lambda f: lambda v, w: nth.derivatives(lambda t: f(t * v, w), v[0], 3),
    "jet": lambda f: lambda v, w: nth.jet(lambda z: f(z, w), (v,), ([jnp.ones(3), None, jnp.ones(3)],))[1],
    "gradient of laplacian": lambda f: lambda v, w: jax.grad(lambda z: nth.laplacian(f, z, w))(v),
}
CASES = [
    *[(name, layers) for name in CALLS],
    *[("laplacian", f) for f in (scanned, branched, ruled)],
    ("derivatives", scanned),
]


IN_PART = one_in(3, [pytest.param(*case) for case in CASES])


@pytest.mark.parametrize(
    ("name", "fun"),
    IN_PART,
    ids=lambda case: getattr(case, "__name__", case),
)
def test_inside_of_shard_map(name, fun):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    batched = jax.vmap(CALLS[name](fun), (0, None))
    want = jax.jit(batched)(POINTS, WEIGHTS)
    given = jax.shard_map(batched, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))
    assert_parity(jax.jit(given)(POINTS, WEIGHTS), want)
    closed = functools.partial(lambda w, x: batched(x, w), WEIGHTS)
    assert_parity(jax.jit(jax.shard_map(closed, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(POINTS), want)


@pytest.mark.parametrize(
    ("kind", "name"),
    in_turn([AxisType.Auto, AxisType.Explicit], ["laplacian", "directional", "all_mixed", "derivatives", "divergence"]),
)
def test_on_sharded_points(kind, name):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,), devices=jax.devices()[:2])
    batched = jax.jit(jax.vmap(CALLS[name](layers), (0, None)))
    want = batched(POINTS, WEIGHTS)
    with jax.set_mesh(mesh):
        points = jax.device_put(POINTS, NamedSharding(mesh, P("d")))
        weights = jax.device_put(WEIGHTS, NamedSharding(mesh, P()))
        assert_parity(jax.device_get(batched(points, weights)), jax.device_get(want))

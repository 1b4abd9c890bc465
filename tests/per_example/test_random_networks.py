"""Random small networks made of the operations with a rule: norms and sums against formed gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxgrad._uses._gradient_factors import gradient_factors, weighted_sum
from jaxgrad._uses._norms import norms_of_groups
from jaxgrad._uses._plan import make_plan
from tests.bridge import assert_parity

pytestmark = pytest.mark.usefixtures("compiled_quickly")

WIDTH, LENGTH = 4, 3


def dense(w, x):
    return jnp.tanh(x @ w)


def transposed(w, x):
    return jnp.tanh(jnp.einsum("td,ed->te", x, w))


def across(w, x):
    return jnp.tanh(w[:LENGTH, :LENGTH] @ x)


def heads(w, x):
    split = x.reshape(LENGTH, 2, 2)
    return jnp.tanh(jnp.einsum("thd,hde->the", split, w.reshape(2, 2, 4)[..., :2]).reshape(LENGTH, WIDTH))


def scale(w, x):
    return x * w[0][None] + w[1][None]


def convolve(w, x):
    kernel = w.reshape(2, 2, 4)
    out = jax.lax.conv_general_dilated(
        x[None], kernel, (1,), "SAME", feature_group_count=2, dimension_numbers=("NWC", "WIO", "NWC")
    )
    return jnp.tanh(out[0])


def lookup(w, x):
    return x + jnp.take(w, jnp.argsort(x[:, 0]), axis=0)


def recur(w, x):
    def step(c, xt):
        c = jnp.tanh(xt + c @ w)
        return c, c

    return jax.lax.scan(step, jnp.zeros(WIDTH), x)[1]


LAYERS: list[Callable] = [dense, transposed, across, heads, scale, convolve, lookup, recur]

networks = st.lists(
    st.tuples(st.integers(0, len(LAYERS) - 1), st.integers(0, 2), st.booleans()), min_size=1, max_size=4
)


def check(network):
    """Compare on one network: a list of a layer, the weight it uses, and whether it is recomputed."""
    rng = np.random.default_rng(len(network))
    leaves = [jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / 2) for _ in range(3)]
    batch = (jnp.asarray(rng.normal(size=(2, LENGTH, WIDTH))),)

    def loss(leaves, x):
        for layer, weight, recomputed in network:
            apply = LAYERS[layer]
            x = (jax.checkpoint(apply) if recomputed else apply)(leaves[weight], x)
        return jnp.sum(jnp.sin(x)), x

    scales = jnp.array([0.5, 2.0])

    @jax.jit
    def both(leaves, batch):
        plan = make_plan(loss, leaves, (jax.ShapeDtypeStruct((LENGTH, WIDTH), jnp.float64),))
        factors = gradient_factors(plan, leaves, batch)
        norms = norms_of_groups(plan, factors, [[0], [1], [2]])
        rows, aux = jax.vmap(jax.grad(loss, has_aux=True), (None, 0))(leaves, *batch)
        return norms, weighted_sum(plan, factors, [scales] * 3), rows, (factors.aux, aux)

    norms, total, rows, aux = both(leaves, batch)
    assert_parity(*aux)
    assert_parity(norms, [np.linalg.norm(g, axis=(1, 2)) for g in rows], tolerance=1e-9)
    assert_parity(total, [np.tensordot(scales, g, 1) for g in rows])


@settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(networks)
def test_a_few_random_networks(network):
    check(network)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(networks)
def test_two_hundred_random_networks(network):
    check(network)


@pytest.mark.parametrize("layer", range(len(LAYERS)), ids=lambda i: LAYERS[i].__name__)
def test_every_layer_twice_on_one_weight(layer):
    check([(layer, 0, False), (layer, 0, True)])

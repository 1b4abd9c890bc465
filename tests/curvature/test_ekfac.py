"""`curvature.ekfac` against dense matrices in torch, against the true blocks, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.curvature
from jaxgrad.curvature import ekfac, kfac
from tests.bridge import assert_parity, random_like
from tests.curvature.networks import NETWORKS, cases
from tests.curvature.test_kfac import options_of, to_torch_options
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


# the factors of few examples that are reduced have null spaces, and no bases of their own there
DETERMINED = [pytest.param(*case) for case in cases() if case[2] == "expand" or case[0] == "positions"]


@pytest.mark.parametrize(("name", "kind", "approximation"), one_in(3, DETERMINED, start=1))
def test_matches_torch(name, kind, approximation):
    network = NETWORKS[name]
    options = options_of(network, kind, approximation) | {"weights": jnp.array([1.0, 0.5, 0.0, 2.0])}
    got = ekfac(network.model, network.params, *network.batch, **options)
    want = torch_ref.curvature.ekfac(
        network.model_torch, network.params_torch, *network.batch_torch, **to_torch_options(options)
    )
    vector = random_like(network.params, 1)
    product = got.product(vector)
    for path, block in want.items():
        turn = (lambda x: x.T) if path in network.transposed else (lambda x: x)
        expected = jnp.asarray(block.numpy()) @ turn(vector[path]).reshape(-1)
        assert_parity(turn(product[path]).reshape(-1), expected)


def true_blocks(network, output_loss):
    """Return the Gauss-Newton block of every leaf."""
    outputs = jax.vmap(network.model, (None, 0))

    def block(path):
        def restricted(leaf):
            return outputs({**network.params, path: leaf}, network.batch[0])

        jacobian = jax.jacobian(restricted)(network.params[path])
        flat = jacobian.reshape(len(network.batch[0]), -1, network.params[path].size)
        p = jax.nn.softmax(outputs(network.params, network.batch[0]))
        middle = jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(p)
        return jnp.einsum("ncp,ncd,ndq->pq", flat, middle, flat) / len(flat)

    return {path: block(path) for path in network.params}


@functools.cache
def both():
    network = NETWORKS["shared"]
    options = options_of(network, "exact", "expand")
    factors = kfac(network.model, network.params, *network.batch, **options)
    return factors, ekfac(network.model, network.params, *network.batch, factors=factors, **options)


@pytest.mark.slow
def test_it_is_closer_to_the_true_blocks_than_kfac_and_has_their_trace():
    network, (factors, corrected) = NETWORKS["shared"], both()
    want = true_blocks(network, "softmax_cross_entropy")
    for path in ("twice", "out"):
        size = network.params[path].size
        zeros = jax.tree.map(jnp.zeros_like, network.params)
        eye = jnp.eye(size).reshape(size, *network.params[path].shape)

        def block(curved, path=path, eye=eye, zeros=zeros):
            return jax.jit(jax.vmap(lambda v: curved.product({**zeros, path: v})[path].reshape(-1)))(eye)

        errors = [float(jnp.linalg.norm(block(curved) - want[path])) for curved in (corrected, factors)]
        assert errors[0] <= errors[1] * (1 + 1e-9)
        assert_parity(jnp.trace(block(corrected)), jnp.trace(want[path]))


def test_inverse_root_and_determinant_belong_to_the_product():
    network, (_, corrected) = NETWORKS["shared"], both()
    vector = random_like(network.params, 2)
    assert_parity(corrected.product(corrected.inverse_product(vector, 0.3), 0.3), vector)
    root = corrected.inverse_square_root(corrected.inverse_square_root(vector, 0.3), 0.3)
    assert_parity(root, corrected.inverse_product(vector, 0.3))
    flat, unravel = jax.flatten_util.ravel_pytree(vector)
    dense = jax.jit(jax.vmap(lambda v: jax.flatten_util.ravel_pytree(corrected.product(unravel(v), 0.3))[0]))(
        jnp.eye(flat.size)
    )
    assert_parity(corrected.log_determinant(0.3), jnp.linalg.slogdet(dense)[1])
    assert "twice" in corrected.explain()


def test_refuses():
    network, (factors, corrected) = NETWORKS["shared"], both()
    with pytest.raises(ValueError, match=r'damping_style="pi" adds.*write damping_style="identity"'):
        corrected.inverse_product(network.params, 0.1, damping_style="pi")
    options = options_of(network, "exact", "reduce")
    with pytest.raises(ValueError, match=r"(?s)factors must be those of curvature\.kfac for the same params"):
        ekfac(network.model, network.params, *network.batch, factors=factors, **options)
    with pytest.raises(ValueError, match="damping must not be negative"):
        corrected.sample(jax.random.key(0), -1.0)

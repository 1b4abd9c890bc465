"""What the functions of the family cost, by XLA's counts, in plain gradients of the same loss."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad.shift import gradient, msam_gradient, msam_init, sam_gradient

pytestmark = pytest.mark.slow

SIZES = (784, 512, 512, 10)


def loss(params, x, y):
    for kernel in params[:-1]:
        x = jnp.tanh(x @ kernel)
    return jnp.mean((x @ params[-1] - y) ** 2)


def abstract(*shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


PARAMS = abstract(*itertools.pairwise(SIZES))
DATA = abstract((256, SIZES[0]), (256, SIZES[-1]))


def cost(fun):
    """Return the floating-point operations of a function of parameters and data, and its temporaries in bytes."""
    compiled = jax.jit(fun).lower(PARAMS, *DATA).compile()
    return compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes


def test_in_gradients():
    flops, temporaries = cost(jax.grad(loss))
    tree = sum(leaf.size * leaf.dtype.itemsize for leaf in PARAMS)
    shifted = cost(lambda p, *data: gradient(loss, p, p, *data, scale=0.1))
    assert shifted[0] <= 1.03 * flops
    assert shifted[1] <= temporaries + tree
    assert cost(lambda *args: sam_gradient(loss, *args, radius=0.05))[0] <= 2.03 * flops
    assert cost(lambda *args: sam_gradient(loss, *args, radius=0.05, exact=True))[0] <= 4.2 * flops
    assert cost(lambda p, *data: msam_gradient(loss, p, msam_init(p), *data, radius=0.05))[0] <= 1.03 * flops

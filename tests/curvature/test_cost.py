"""What the products of `curvature` cost: operations and temporaries of compiled programs, in gradients of the loss.

They are the gates of `bench/curvature.py` without a clock. An exact product of a deep network takes 8/3 gradients, of
one whose first layer is a good part of it less.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.curvature import ggn_product, hvp, linearize
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.bridge import assert_parity, random_like, to_jax

SIZES, BATCH = (784, 784, 512, 10), 256
PARAMS = to_jax(mlp_params(SIZES, 0), np.float32)
DATA = (jnp.ones((BATCH, SIZES[0]), jnp.float32), jnp.arange(BATCH) % SIZES[-1])


def loss(params, x, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(mlp_jax(params, x)), y[:, None], 1))


HESSIAN = functools.partial(hvp, loss)
GGN = functools.partial(ggn_product, mlp_jax, output_loss="softmax_cross_entropy")


@functools.cache
def flops(fun, *of):
    """Return the operations of a compiled function of the parameters, a vector and the data."""
    given = (PARAMS, PARAMS, *DATA) if not of else of[0]()
    return jax.jit(fun).lower(*given).compile().cost_analysis()["flops"]


@functools.cache
def gradient():
    return flops(jax.grad(loss), lambda: (PARAMS, *DATA))


def several():
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), PARAMS)


@pytest.mark.parametrize(("product", "most", "linearized"), [(HESSIAN, 2.6, 1.9), (GGN, 1.7, 1.35)])
def test_a_product_and_a_linearised_one(product, most, linearized):
    assert flops(product) <= most * gradient()
    operator = jax.eval_shape(functools.partial(linearize, product), PARAMS, *DATA)
    one = flops(_called, lambda: (operator, PARAMS))
    assert one <= linearized * gradient()
    assert flops(_called, lambda: (operator, several())) <= 8.05 * one


def _called(operator, vector):
    return operator(vector)


def test_there_is_no_second_forward_for_the_value_and_the_gradient():
    """Beside the product they take the gradients of the weights alone: a third of a gradient here, and no more."""
    whole = functools.partial(hvp, loss, full_output=True)
    assert flops(whole) - flops(HESSIAN) <= 0.5 * gradient()
    text = jax.jit(whole).lower(PARAMS, PARAMS, *DATA).as_text()
    assert text.count(".tanh ") == jax.jit(HESSIAN).lower(PARAMS, PARAMS, *DATA).as_text().count(".tanh ") > 0


def power_iteration(cache, params, vector, x, y):
    def step(vector, _):
        product = hvp(loss, params, vector, x, y, cache=cache)
        size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(product)))
        return jax.tree.map(lambda leaf: leaf / size, product), size

    return jax.lax.scan(step, vector, None, length=3)[1]


def test_without_the_cache_a_loop_holds_less():
    """Else XLA takes what does not depend on the vector out of the loop, and holds it all the time."""
    params = to_jax(mlp_params((16, 64, 64, 64, 64, 10), 0), np.float32)
    given = params, random_like(params, 1), jnp.ones((512, 16), jnp.float32), jnp.arange(512) % 10
    programs = [jax.jit(functools.partial(power_iteration, cache)).lower(*given).compile() for cache in (True, False)]
    held, anew = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert anew < 0.7 * held
    assert_parity(programs[1](*given), programs[0](*given), tolerance=1e-4)


def convolution(w, x):
    out = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(out).mean((1, 2))


def test_convolutions_in_loops_have_their_channels_last():
    """XLA for CPUs has fast code inside of a loop for that order alone."""
    w, x = random_like(jnp.zeros((3, 3, 2, 4)), 0), random_like(jnp.zeros((5, 6, 6, 2)), 1)
    vectors, y = random_like(jnp.zeros((3, 3, 3, 2, 4)), 2), random_like(jnp.zeros((5, 4)), 3)
    product = functools.partial(ggn_product, convolution, w, output_loss="squared_error")
    text = jax.jit(product).lower(vectors, x, y).as_text()
    inside = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(inside) > 2
    assert "stablehlo.while" in text
    body = text[text.index("stablehlo.while") :]
    layouts = [
        line.split("dim_numbers = ")[1].split(",window")[0] for line in body.splitlines() if "dim_numbers" in line
    ]
    assert {line.split(", window")[0] for line in layouts} == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    for chunk in (None, 2, 3):
        got = product(vectors, x, y, chunk=chunk)
        assert_parity(got, jnp.stack([product(vector, x, y) for vector in vectors]))

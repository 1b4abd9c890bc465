"""What `curvature` costs: operations and temporaries of compiled programs, in gradients of the loss.

They are the gates of `bench/curvature.py` without a clock. An exact product of a deep network takes 8/3 gradients, of
one whose first layer is a good part of it less.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxgrad.curvature import diagonal, ekfac, ggn_product, hvp, kfac, linearize, solve
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.bridge import assert_parity, random_like, to_jax
from tests.curvature import one_layer

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


def temporaries(fun, *given):
    """Return the bytes that a compiled function holds beside its arguments and results."""
    return jax.jit(fun).lower(*given).compile().memory_analysis().temp_size_in_bytes


def test_a_solve_holds_as_much_however_many_products_it_may_take():
    problem = one_layer.PROBLEM

    def height(params, most):
        options = {"damping": 2.0, "tolerance": 0.0, "max_products": most}
        return ravel_pytree(solve(one_layer.HESSIAN, params, params, *problem.data, **options).solution)[0].sum()

    held = [temporaries(jax.grad(functools.partial(height, most=most)), problem.params) for most in (10, 1000)]
    assert held[0] == held[1]


def test_probes_in_chunks_hold_one_chunk():
    def product(params, vector):
        return jax.tree.map(lambda p, v: p * v, params, vector)

    def estimate(p, count):
        return diagonal(product, p, key=jax.random.key(0), num_samples=count, chunk=2).estimate

    held = [temporaries(functools.partial(estimate, count=count), jnp.ones(10_000)) for count in (200, 8)]
    assert held[0] < held[1] + 10_000


WIDE = (784, 512, 512, 10)


def loss_of_one(params, x, y):
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def mean_loss(params, x, y):
    return jnp.mean(jax.vmap(loss_of_one, (None, 0, 0))(params, x, y))


def wide():
    """Return the parameters of a network with biases, and a batch of 256, in float32."""
    params = to_jax(mlp_params(WIDE, 0), np.float32)
    return params, jnp.ones((256, WIDE[0]), jnp.float32), jnp.ones((256, WIDE[-1]), jnp.float32)


@functools.cache
def of_the_factors():
    """Return the operations of the pass that makes them."""
    return flops(functools.partial(kfac, loss_of_one), wide)


def test_kronecker_factors():
    """At most 1.7 gradients for the factors; for a product no more than its two products of matrices a weight."""
    params, *batch = wide()
    assert of_the_factors() <= 1.7 * flops(jax.grad(mean_loss), wide)
    factors = jax.eval_shape(functools.partial(kfac, loss_of_one), params, *batch)
    found = flops(lambda f, v: f.product(v, 0.1), lambda: (factors, params))
    assert found <= 1.01 * sum(2 * a * b * (a + b) for a, b in itertools.pairwise(WIDE))


@pytest.mark.slow
def test_the_correction_of_eigenvalues():
    """At most 1.2 times the pass that makes the factors, where one call does both; 1.3 times it alone."""
    params, *batch = wide()
    factors = jax.eval_shape(functools.partial(kfac, loss_of_one), params, *batch)
    once = of_the_factors() + flops(lambda f: f.eigen(), lambda: (factors,))
    assert flops(functools.partial(ekfac, loss_of_one), wide) <= 2.2 * once
    alone = flops(lambda f, *given: ekfac(loss_of_one, *given, factors=f), lambda: (factors, params, *batch))
    assert alone <= 1.3 * once


@pytest.mark.slow
def test_outputs_in_chunks_hold_one_chunk():
    """Of 512 outputs eight at a time: no more than eight draws all at once, in the factors and their correction."""
    params = to_jax(mlp_params((16, 8, 512), 0), np.float32)
    given = params, jnp.ones((64, 16), jnp.float32), jnp.zeros(64, jnp.int32)
    ours = functools.partial(ekfac, mlp_jax, output_loss="softmax_cross_entropy", wrt="*/weight")
    chunked = temporaries(functools.partial(ours, kind="exact", chunk=8), *given)
    assert chunked <= temporaries(functools.partial(ours, kind="mc", key=jax.random.key(0), num_samples=8), *given)

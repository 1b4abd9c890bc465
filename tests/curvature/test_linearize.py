"""`curvature.linearize`: the product without its work on the parameters, for the products of the family."""

import functools

import jax
import jax.numpy as jnp
import pytest

import torch_ref.curvature
from jaxgrad.curvature import (
    fisher_product,
    ggn_product,
    hvp,
    jacobian_product,
    linearize,
    over_dataset,
    stack_batches,
    weighted_loss,
)
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in

PROBLEM = regression((3, 4, 2), batch=6)
PARAMS, (X, Y) = PROBLEM.params, PROBLEM.data
VECTOR = random_like(PARAMS, 1)
HESSIAN = functools.partial(hvp, mean_square)
BATCHES = stack_batches((X, Y), 4)

PRODUCTS = {
    "hvp": (HESSIAN, (X, Y)),
    "reverse over reverse": (functools.partial(hvp, mean_square, mode="reverse-over-reverse"), (X, Y)),
    "reverse over forward": (functools.partial(hvp, mean_square, mode="reverse-over-forward"), (X, Y)),
    "recomputing": (functools.partial(hvp, mean_square, cache=False, wrt="layer1"), (X, Y)),
    "ggn": (functools.partial(ggn_product, mlp_jax, output_loss="bernoulli"), (X, jnp.abs(jnp.sin(Y)))),
    "empirical": (
        functools.partial(fisher_product, mlp_jax, output_loss="squared_error", kind="empirical"),
        (X, Y),
    ),
    "jacobian": (functools.partial(jacobian_product, mlp_jax), (X,)),
    "data set": (functools.partial(over_dataset, functools.partial(hvp, weighted_loss(mean_square))), BATCHES),
}


@pytest.mark.parametrize("name", one_in(3, PRODUCTS))
def test_is_the_product(name, compiled_quickly):
    product, data = PRODUCTS[name]
    operator = linearize(product, PARAMS, *data)
    want = product(PARAMS, VECTOR, *data)
    assert_parity(operator(VECTOR), want)
    vectors = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), VECTOR)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf, 2 * leaf]), want)
    assert_parity(operator(vectors, chunk=2), stacked)


def test_matches_torch(compiled_quickly):
    product = functools.partial(torch_ref.curvature.hvp, mean_square_torch)
    want = torch_ref.curvature.linearize(product, PROBLEM.params_torch, *PROBLEM.data_torch)(to_torch(VECTOR))
    assert_parity(linearize(HESSIAN, PARAMS, X, Y)(VECTOR), want)


def test_it_gives_the_value_and_the_gradient(compiled_quickly):
    operator = linearize(HESSIAN, PARAMS, X, Y)
    assert_parity((operator.value, operator.gradient), jax.jit(jax.value_and_grad(mean_square))(PARAMS, X, Y))
    assert linearize(*PRODUCTS["jacobian"][:1], PARAMS, X).value is None


def test_neither_a_second_vector_nor_a_second_point_traces_anything():
    def operator(scale):
        return linearize(functools.partial(hvp, mean_square), jax.tree.map(lambda leaf: scale * leaf, PARAMS), X, Y)

    other = jax.tree.map(lambda leaf: 2 * leaf, PARAMS)
    first = operator(1.0)(VECTOR)
    with jax.no_tracing(True):
        again = operator(1.0)(VECTOR)
        linearize(functools.partial(hvp, mean_square), other, X, Y)(random_like(PARAMS, 2))
    assert_parity(again, first, tolerance=0.0)
    assert_parity(operator(2.0)(VECTOR), hvp(mean_square, other, VECTOR, X, Y))


def test_it_goes_into_a_compiled_function_and_out_of_one(compiled_quickly):
    operator = jax.jit(lambda p: linearize(HESSIAN, p, X, Y))(PARAMS)
    got = jax.jit(lambda operator, v: operator(operator(v)))(operator, VECTOR)
    once = hvp(mean_square, PARAMS, VECTOR, X, Y)
    assert_parity(got, hvp(mean_square, PARAMS, once, X, Y))


def test_the_bytes_are_those_of_the_programs():
    """What is kept is exact; what a product holds at its peak is counted before XLA fuses operations."""
    wide = regression((32, 64, 64, 8), batch=128)
    vector = random_like(wide.params, 1)
    operator = linearize(HESSIAN, wide.params, *wide.data)
    given = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((wide.params, wide.data))}
    kept = [leaf for leaf in operator.kept if leaf.unsafe_buffer_pointer() not in given]
    sizes = {leaf.unsafe_buffer_pointer(): leaf.nbytes for leaf in kept}
    assert operator.bytes_cached == pytest.approx(sum(sizes.values()), rel=0.05)
    program = jax.jit(HESSIAN).lower(wide.params, vector, *wide.data).compile()
    held = program.memory_analysis().temp_size_in_bytes
    assert held / 2 <= operator.bytes_recomputed <= 2.5 * held


def test_refuses_what_is_not_linear_and_an_aux():
    with pytest.raises(ValueError, match="not linear in its vector"):
        linearize(functools.partial(hvp, mean_square, mode="finite-difference"), PARAMS, X, Y)
    with pytest.raises(TypeError, match="leave has_aux=True out"):
        linearize(functools.partial(hvp, lambda p, x, y: (mean_square(p, x, y), x), has_aux=True), PARAMS, X, Y)
    with pytest.raises(ValueError, match="vector must have the structure"):
        linearize(HESSIAN, PARAMS, X, Y)(PARAMS["layer0"])

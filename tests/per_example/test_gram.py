"""`per_example.gram` against pairs of flat gradients, on vectors, on positions and on lookups."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.per_example
from jaxgrad import _tree
from jaxgrad.per_example import gram
from tests.bridge import assert_parity
from tests.per_example.zoo import ZOO
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    problem = regression()
    got = gram(mean_square, problem.params, *problem.data)
    want = torch_ref.per_example.gram(mean_square_torch, problem.params_torch, *problem.data_torch)
    assert_parity(got, want)


def test_between_two_batches():
    problem = regression()
    other = tuple(x[:3] * 2 for x in problem.data)
    other_torch = tuple(x[:3] * 2 for x in problem.data_torch)
    got = gram(mean_square, problem.params, *problem.data, other=other)
    want = torch_ref.per_example.gram(mean_square_torch, problem.params_torch, *problem.data_torch, other=other_torch)
    assert_parity(got, want)


@pytest.mark.parametrize("name", ["lookups", "stack", "heads"])
def test_matches_formed_gradients(name):
    model = ZOO[name]()
    rows = jax.jit(jax.vmap(jax.grad(model.loss), (None, 0)))(model.params, *model.batch)
    want = jax.jit(jax.vmap(jax.vmap(_tree.dot, (None, 0)), (0, None)))(rows, rows)
    assert_parity(gram(model.loss, model.params, *model.batch, mode="book-keeping"), want)


def test_rejects_a_second_batch_of_other_examples():
    problem = regression()
    with pytest.raises(ValueError, match=r"other\[0\]: got float64\[2\], expected float64\[3\]"):
        gram(mean_square, problem.params, *problem.data, other=(jnp.ones((4, 2)), jnp.ones((4, 2))))

"""`curvature.nystrom` on the same probes as torch, of low rank exactly, as a preconditioner, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import torch_ref.curvature
from jaxgrad.curvature import nystrom, solve
from tests.bridge import assert_parity, to_torch
from tests.curvature.matrices import draw
from tests.curvature.matrices import matrix_product as product
from tests.curvature.test_trace import stack_like
from tests.problems import regression

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


TREE, MATRIX = draw([9.0, 7.0, 4.0, *np.geomspace(1e-3, 1, 9)])


def test_matches_torch_on_the_same_probes():
    probes = stack_like(TREE, 5)
    low = nystrom(product, TREE, MATRIX, probes=probes)

    def times(params, vector, matrix):
        flat = matrix @ vector["a"].new_tensor([*vector["a"].reshape(-1), *vector["b"].reshape(-1)])
        return {"a": flat[:2], "b": flat[2:].reshape(-1, 1)}

    want = torch_ref.curvature.nystrom(times, to_torch(TREE), to_torch(MATRIX), probes=to_torch(probes))
    columns = [ravel_pytree(low.product(ravel_pytree(TREE)[1](axis)))[0] for axis in jnp.eye(12)]
    assert_parity(jnp.stack(columns), want, tolerance=1e-8)


def test_a_matrix_of_low_rank_is_exact():
    tree, matrix = draw([5.0, 3.0, *[0.0] * 8])
    low = nystrom(product, tree, matrix, rank=4, key=jax.random.key(0))
    np.testing.assert_allclose(low.values, [5.0, 3.0, 0.0, 0.0], atol=1e-12)
    assert not low.indefinite
    flat, unravel = jnp.arange(1.0, 11.0), ravel_pytree(tree)[1]
    damped = matrix + 0.5 * jnp.eye(10)
    assert_parity(ravel_pytree(low.product(unravel(flat)))[0], matrix @ flat, tolerance=1e-9)
    got = low.inverse_product(unravel(flat), 0.5)
    assert_parity(ravel_pytree(got)[0], jnp.linalg.solve(damped, flat), tolerance=1e-9)
    assert_parity(low.log_determinant(0.5), jnp.linalg.slogdet(damped)[1], tolerance=1e-9)


def test_a_preconditioner_saves_products():
    tree, matrix = draw([*np.geomspace(10, 1e4, 10), *np.linspace(0.0, 1.0, 50)])
    rhs = jax.tree.map(jnp.ones_like, tree)
    given = functools.partial(solve, product, tree, rhs, matrix, damping=1.0, tolerance=1e-8, max_products=300)
    plain = given()
    low = nystrom(product, tree, matrix, rank=15, key=jax.random.key(1))
    found = given(preconditioner=low)
    assert found.converged
    assert plain.converged
    assert 2 * int(found.products) < int(plain.products)
    assert_parity(found.solution, plain.solution, tolerance=1e-5)


def test_what_is_negative_is_dropped_and_all_of_nothing_is_nothing():
    tree, matrix = draw([5.0, -3.0, 0.0, 0.0])
    low = nystrom(product, tree, matrix, rank=4, key=jax.random.key(0))
    assert jnp.all(low.values >= 0)
    assert low.indefinite
    nothing = nystrom(product, tree, 0 * matrix, rank=2, key=jax.random.key(0))
    assert nothing.values.tolist() == [0.0, 0.0]
    assert not nothing.indefinite
    assert_parity(nothing.inverse_product(tree, 2.0), jax.tree.map(lambda leaf: leaf / 2, tree))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 3}, "give probes=.* or key="),
        ({"key": jax.random.key(0), "rank": 0}, "rank must be from 1 to 12; got 0"),
        ({"key": jax.random.key(0), "rank": 13}, "rank must be from 1 to 12; got 13"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        nystrom(product, TREE, MATRIX, **options)


def test_rejects_a_vector_of_another_shape():
    low = nystrom(product, TREE, MATRIX, rank=2, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"vector\['layer0'\]\['bias'\]: got"):
        low.product(regression().params)

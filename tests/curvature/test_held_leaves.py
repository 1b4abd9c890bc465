"""Leaves that the products hold with ``wrt=``, and that have no derivative: nothing of the others' numbers changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import curvature
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

MATRIX = jnp.array([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
WITHOUT_ROWS = {"key": jax.random.key(1), "mask": jnp.asarray(np.ones(2, bool)), "step": jnp.asarray(np.arange(2))}
HELD = {"half": jnp.asarray(np.zeros(2, jnp.bfloat16)), **WITHOUT_ROWS}
W = jnp.array([0.5, -1.0, 2.0])
X, Y = jnp.array([[1.0, 2.0, -1.0], [0.5, 0.0, 1.0]]), jnp.array([[1.0], [0.0]])


def multiplied(params, vector):
    """Multiply one leaf, and hold the others as the products of the family do."""
    return {name: MATRIX @ leaf if name == "w" else jnp.zeros_like(leaf) for name, leaf in vector.items()}


def model(params, x):
    return jnp.tanh(x @ params["w"][:, None])


def squares(params, x, y):
    return jnp.mean((model(params, x) - y) ** 2)


def residuals(params, x, y):
    return model(params, x) - y


FACTORS = functools.partial(curvature.kfac, model, kind="exact", output_loss="squared_error", wrt="w")
HESSIAN = functools.partial(curvature.hvp, squares, wrt="w")
KEY = jax.random.key(0)

OF_A_MATRIX = {
    "solve": lambda p: curvature.solve(multiplied, p, p, damping=1.0, preconditioner=p, start=p),
    "trace": lambda p: curvature.trace(multiplied, p, key=KEY, num_samples=4),
    "hutch++": lambda p: curvature.trace(multiplied, p, key=KEY, num_samples=6, method="hutch++"),
    "diagonal": lambda p: curvature.diagonal(multiplied, p, key=KEY, num_samples=4),
    "eigenpairs": lambda p: curvature.eigenpairs(multiplied, p, k=2, start=p),
    "log_determinant": lambda p: curvature.log_determinant(multiplied, p, key=KEY, num_samples=2, damping=1.0),
    "spectral_density": lambda p: curvature.spectral_density(multiplied, p, key=KEY, num_samples=2),
    "nystrom": lambda p: curvature.nystrom(multiplied, p, rank=2, key=KEY),
    "products of nystrom": lambda p: curvature.nystrom(multiplied, p, rank=2, key=KEY).inverse_product(p, 1.0),
    "operator": lambda p: curvature.operator(multiplied, p) @ p,
    "linearize": lambda p: curvature.linearize(HESSIAN, p, X, Y)(p),
    "data set": lambda p: curvature.over_dataset(
        functools.partial(curvature.hvp, curvature.weighted_loss(squares), wrt="w"),
        p,
        p,
        *curvature.stack_batches((X, Y), 1),
    ),
    "batches of the host": lambda p: curvature.over_batches(
        functools.partial(curvature.hvp, curvature.weighted_loss(squares), wrt="w"), p, p, [(X, Y)] * 2, check=True
    ),
}
OF_FACTORS = {
    "product": lambda p: FACTORS(p, X, Y).product(p),
    "of several": lambda p: FACTORS(p, X, Y).product(jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), p)),
    "inverse": lambda p: FACTORS(p, X, Y).inverse_product(p, 1.0),
    "sample": lambda p: FACTORS(p, X, Y).sample(KEY, 1.0),
    "preconditioner": lambda p: curvature.solve(HESSIAN, p, p, X, Y, damping=9.0, preconditioner=FACTORS(p, X, Y)),
    "influence": lambda p: curvature.influence(
        squares, p, (X, Y), (X, Y), inverse=FACTORS(p, X, Y), damping=1.0, wrt="w"
    ),
    "predictive_covariance": lambda p: curvature.predictive_covariance(
        model, p, FACTORS(p, X, Y), X, prior_precision=1.0, num_examples=2
    ),
    "gauss_newton": lambda p: stepped(curvature.gauss_newton(residuals, wrt="w"), p),
}


def stepped(optimizer, params):
    return optimizer.update(None, optimizer.init(params), params, batch=(X, Y))


def same(got, want, held):
    """Compare what belongs to the leaf that counts, and refuse held leaves that are not zeros of their own dtype."""
    found = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(got)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(want):
        np.testing.assert_allclose(found.pop(jax.tree_util.keystr(path)), leaf, rtol=1e-10, atol=1e-12)
    assert len(found) % len(held) == 0
    for path, leaf in found.items():
        (name,) = (name for name in held if name in path)
        if "per_leaf" not in path:
            assert leaf.dtype == held[name].dtype
            assert leaf.shape[leaf.ndim - held[name].ndim :] == held[name].shape
        assert not np.any(jax.random.key_data(leaf) if leaf.dtype == KEY.dtype else leaf)


@pytest.mark.parametrize("name", one_in(3, OF_A_MATRIX))
def test_a_matrix_is_over_the_floating_point_leaves(name):
    call = OF_A_MATRIX[name]
    same(call({"w": W, **WITHOUT_ROWS}), call({"w": W}), WITHOUT_ROWS)


@pytest.mark.parametrize("name", one_in(3, OF_FACTORS))
def test_factors_keep_the_dtype_of_every_leaf(name):
    call = OF_FACTORS[name]
    same(call({"w": W, **HELD}), call({"w": W}), HELD)


def test_flat_vectors_have_no_rows_of_held_leaves():
    matrix = curvature.operator(multiplied, {"w": W, **WITHOUT_ROWS})
    assert matrix.shape == (3, 3)
    np.testing.assert_allclose(matrix @ W, MATRIX @ W)
    np.testing.assert_allclose(matrix.to_lineax().as_matrix(), MATRIX)


def test_what_no_product_holds_is_refused_by_it():
    params = {"w": W, **WITHOUT_ROWS}
    with pytest.raises(TypeError, match=r"hold the others with wrt=[\s\S]*params\['step'\]: got int"):
        curvature.operator(functools.partial(curvature.hvp, squares), params, X, Y) @ params
    with pytest.raises(
        TypeError, match=r"params must have leaves that are real floating-point.*[\s\S]*\['step'\]: got int"
    ):
        curvature.solve(multiplied, WITHOUT_ROWS, WITHOUT_ROWS, damping=1.0)


def test_a_leaf_without_entries_is_a_diagonal_of_none():
    params = {"w": W, "none": jnp.zeros((0, 4))}
    factors = curvature.kfac(model, params, X, Y, kind="exact", output_loss="squared_error")
    assert "it has no entries" in factors.explain()
    np.testing.assert_allclose(
        factors.inverse_product(params, 1.0)["w"], FACTORS({"w": W}, X, Y).inverse_product({"w": W}, 1.0)["w"]
    )
    assert factors.inverse_product(params, 1.0)["none"].shape == (0, 4)

"""Cost lines of curvature matrices: whole ones, factors of them, and what is made with them."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import curvature
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import (
    BATCH,
    CLOSE,
    WIDTH,
    Claim,
    check,
    in_another_direction,
    loss,
)
from tests.contract.rows_curvature import PRIOR, Diagonal

part = functools.partial
PARAMETERS = 5 * WIDTH * (WIDTH + 1)
FACTORS = 1.35
"""The gradients that the factors of `kfac` take."""


def stacked(count, tree):
    """Return some trees of other numbers along a new leading axis."""
    return jax.tree.map(lambda leaf: jnp.stack([jnp.sin(leaf + k) for k in range(count)]), tree)


def dense(params, x):
    return curvature.dense_hessian(loss, params, x, max_bytes=2**40)


def jacobian_product(count):
    return lambda params, x: curvature.jacobian_product(mlp_jax, params, stacked(count, params), x, chunk=count)


def transposed(count):
    def program(params, x):
        cotangents = stacked(count, jnp.zeros((BATCH, WIDTH), jnp.float32))
        return curvature.jacobian_product(mlp_jax, params, cotangents, x, transpose=True, chunk=count)

    return program


def gauss_newton_products(count):
    def program(params, x):
        given = mlp_jax, params, stacked(count, params), x, jnp.zeros((BATCH, WIDTH), jnp.float32)
        return curvature.ggn_product(*given, output_loss="squared_error", chunk=count)

    return program


def finite_differences(count):
    def program(params, x):
        return curvature.hvp(loss, params, stacked(count, params), x, mode="finite-difference", chunk=count)

    return program


def finite_difference_with_value(_):
    def program(params, x):
        vector = jax.tree.map(jnp.sin, params)
        return curvature.hvp(loss, params, vector, x, mode="finite-difference", full_output=True)

    return program


def influence(count):
    """Return the influence on some test examples of the batch."""
    return lambda params, x: curvature.influence(loss, params, (x,), (jnp.cos(x[:count]),))


def row_space_solve(refinements):
    return in_another_direction(part(curvature.row_space_solve, loss, damping=0.1, refinements=refinements))


def predictive(count):
    """Return the covariance of some outputs of every example."""

    def model(params, x):
        return mlp_jax(params, x)[:count]

    return lambda params, x: curvature.predictive_covariance(model, params, Diagonal(params), x, **PRIOR)


def of_drawn(count):
    """Return factors from some pseudo-gradients of every example."""

    def program(params, x):
        options = {"kind": "mc", "output_loss": "squared_error", "chunk": count}
        drawn = stacked(count, jnp.zeros((BATCH, WIDTH), jnp.float32))
        return curvature.kfac(mlp_jax, params, x, jnp.zeros((BATCH, WIDTH), jnp.float32), samples=drawn, **options)

    return program


def ekfac(_):
    return part(curvature.ekfac, loss)


def ekfac_given(_):
    def program(params, x):
        shapes = jax.eval_shape(part(curvature.kfac, loss), params, x)
        factors = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return curvature.ekfac(loss, params, x, factors=factors)

    return program


def gauss_newton(solver):
    def program(params, x):
        method = curvature.gauss_newton(mlp_jax, solver=solver)
        return method.update(None, method.init(params), params, batch=(x,))

    return lambda _: program


CLAIMS = [
    Claim(
        "curvature.dense_hessian",
        "``P`` Hessian-vector products",
        "gradient",
        lambda _: 1.9 * PARAMETERS,  # those of one point, as `hvp` says
        lambda _: dense,
        within=CLOSE,
    ),
    Claim(
        "curvature.jacobian_product",
        "An evaluation, and about two more for each ``J v``",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        jacobian_product,
        (1, 4),
    ),
    Claim(
        "curvature.jacobian_product",
        "two for each ``J^T u``",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        transposed,
        (1, 4),
    ),
    Claim(
        "curvature.ggn_product",
        "1.3 for each of several vectors beside the evaluation that they share",
        "gradient",
        lambda k: 1 / 3 + 1.3 * k,
        gauss_newton_products,
        (2, 8),
        within=CLOSE,
    ),
    Claim(
        "curvature.hvp",
        "two gradients each",
        "gradient",
        lambda k: 2 * k,
        finite_differences,
        (1, 4),
        within=CLOSE,
    ),
    Claim(
        "curvature.hvp",
        "comes from one more, at the point itself",
        "gradient",
        lambda _: 3,
        finite_difference_with_value,
        within=CLOSE,
    ),
    Claim(
        "curvature.influence",
        "about 2/3 of a gradient of the training batch",
        "gradient",
        lambda m: 1 / 3 + m * (1 / BATCH + 2 / 3),  # one forward is shared
        influence,
        (2, 8),
        within=CLOSE,
    ),
    Claim(
        "curvature.row_space_solve",
        "about one gradient of the batch; an eigendecomposition of ``N x N``; and about 8/3 gradients (FLOPs) for every"
        " solve and its residual: 6.3 in all with one refinement",
        "gradient",
        lambda r: 1 + 8 / 3 * (r + 1),
        row_space_solve,
        (0, 1),
        within=CLOSE,
        compiled=True,  # the derivatives along a vector and a weighted sum of gradients have one forward
    ),
    Claim(
        "curvature.predictive_covariance",
        "C backward passes, C products with the root, and ``2 C**2 P`` operations",
        "gradient",
        lambda c: (1 + 2 * c) / 3 + 2 * c**2 / 5.6,  # a gradient has 5.6 operations for each parameter and example
        predictive,
        (2, 4),
        within=CLOSE,
    ),
    Claim(
        "curvature.kfac",
        "one more backward pass for every further pseudo-gradient",
        "gradient",
        lambda k: FACTORS + 2 / 3 * (k - 1),
        of_drawn,
        (1, 2, 4),
        compiled=True,
    ),
    Claim(
        "curvature.ekfac",
        "0.9 times the factors for a multilayer perceptron",
        "gradient",
        lambda _: 1.9 * FACTORS,
        ekfac,
        within=CLOSE,
        compiled=True,
    ),
    Claim(
        "curvature.ekfac",
        "1.3 times where ``factors`` are given",
        "gradient",
        lambda _: 1.3 * FACTORS,
        ekfac_given,
        within=CLOSE,
        compiled=True,
    ),
    Claim(
        "curvature.gauss_newton",
        "``min(n, P)`` more",
        "gradient",
        lambda _: 2 * BATCH * WIDTH / 3,
        gauss_newton("dense"),
        within=CLOSE,
    ),
    Claim(
        "curvature.gauss_newton",
        "The residuals twice, and four products with the Jacobian",
        "gradient",
        lambda _: (2 + 2 * (4 + 2)) / 3,  # of one iteration: a product is two evaluations
        gauss_newton("cg"),
        within=CLOSE,
    ),
    Claim(
        "curvature.gauss_newton",
        '``"cg"`` two more an iteration',
        "gradient",
        lambda _: (2 + 2 * (4 + 2)) / 3,
        gauss_newton("cg"),
        within=CLOSE,
    ),
]


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

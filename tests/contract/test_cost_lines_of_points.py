"""More Cost lines that are counted in evaluations of a field at the points of a batch."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import inr, nth
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, at_points, check, dimension

part = functools.partial


def divergence(params, x):
    return jax.vmap(lambda z: nth.divergence(lambda y: mlp_jax(params, y), z))(x)


def estimated(count):
    """Return the program of an operator that is estimated from some directions."""
    return at_points(part(nth.stochastic_operator, key=jax.random.key(0), num_samples=count))


def fitted(fun, by_coordinate=False, slope=False):
    """Return programs of a loss of a field at points of some dimension, or of its gradient by the weights."""

    def program(d):
        target = jnp.zeros((BATCH, WIDTH, d) if by_coordinate else (BATCH, WIDTH), jnp.float32)

        def measured(params, x):
            return fun(mlp_jax, params, x, target)

        return jax.grad(measured) if slope else measured

    return program


def together(d):
    """Return the program of the loss by values, gradients and Laplacians at once."""
    values, slopes = jnp.zeros((BATCH, WIDTH), jnp.float32), jnp.zeros((BATCH, WIDTH, d), jnp.float32)
    return lambda params, x: inr.combined_loss(mlp_jax, params, x, values=values, gradients=slopes, laplacians=values)


def eikonal(params, x):
    return inr.eikonal_loss(mlp_jax, params, x)


def used(whole, last):
    """Return what a loss costs of five equal layers whose last one gives no more than is compared."""
    return lambda d: (4 * whole(d) + last(d)) / 5


SIZES = (2, 3)
OF_GRADIENT = used(lambda d: 1 + d, dimension)
OF_LAPLACIAN = used(lambda d: 2 + d, lambda _: 1)
CLAIMS = [
    Claim(
        "nth.divergence",
        "``d + 1`` evaluations",
        "evaluation",
        lambda d: d + 1,
        lambda _: divergence,
        (4,),
        dimension,
        4,
    ),
    Claim(
        "nth.value_gradient_laplacian",
        "``d + 2`` evaluations",
        "evaluation",
        lambda d: d + 2,
        lambda _: at_points(nth.value_gradient_laplacian),
        (4, 16),
        dimension,
        1,
    ),
    Claim(
        "nth.second_derivatives",
        "``2 d + 1`` evaluations",
        "evaluation",
        lambda d: 2 * d + 1,
        lambda _: at_points(nth.second_derivatives),
        (4, 8),
        dimension,
        1,
    ),
    Claim(
        "nth.weighted_laplacian",
        "``d + 2`` evaluations for a diagonal",
        "evaluation",
        lambda d: d + 2,
        lambda _: at_points(nth.weighted_laplacian, jnp.abs),
        (4, 8),
        dimension,
        1,
    ),
    Claim(
        "nth.stochastic_operator",
        "``n * num_samples + 1`` evaluations",
        "evaluation",
        lambda k: 2 * k + 1,
        estimated,
        (4, 8),
        lambda _: 16,
        1,
    ),
    Claim("inr.value_loss", "One evaluation of the field.", "evaluation", lambda _: 1, fitted(inr.value_loss)),
    Claim(
        "inr.gradient_loss",
        "``1 + d`` evaluations of the field",
        "evaluation",
        OF_GRADIENT,
        fitted(inr.gradient_loss, True),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.gradient_loss",
        "its gradient by ``params`` about three times that",
        "evaluation",
        lambda d: 3 * OF_GRADIENT(d),
        fitted(inr.gradient_loss, True, slope=True),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.laplacian_loss",
        "``2 + d`` evaluations of the field",
        "evaluation",
        OF_LAPLACIAN,
        fitted(inr.laplacian_loss),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.laplacian_loss",
        "its gradient by ``params`` about three times that",
        "evaluation",
        lambda d: 3 * OF_LAPLACIAN(d),
        fitted(inr.laplacian_loss, slope=True),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.eikonal_loss",
        "``1 + d`` evaluations of the field",
        "evaluation",
        OF_GRADIENT,
        lambda _: eikonal,
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.combined_loss",
        "``2 + d`` evaluations of the field with Laplacians",
        "evaluation",
        lambda d: 2 + d,
        together,
        SIZES,
        dimension,
        within=CLOSE,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

"""More Cost lines that are counted in gradients of one loss, or in evaluations of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import curvature, gradient, multi_loss, per_example, shift
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import (
    BATCH,
    CLOSE,
    WIDTH,
    Claim,
    check,
    for_each_weight,
    in_another_direction,
    in_its_own_direction,
    loss,
    several,
)

part = functools.partial
SQUARED = {"output_loss": "squared_error"}


def repeated(count, tree):
    """Return a tree several times along a new leading axis of every leaf."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * count), tree)


def shifted(fun, **options):
    """Return programs of a function of several shifts, all at once."""
    return lambda k: lambda params, x: fun(loss, params, repeated(k, params), x, chunk=k, **options)


def of_model(fun, **options):
    """Return the program of a product with the Gauss-Newton matrix, or one like it."""
    return lambda _: lambda p, x: fun(mlp_jax, p, p, x, jnp.zeros((BATCH, WIDTH)), **SQUARED, **options)


def msam(params, x):
    return shift.msam_gradient(loss, params, shift.msam_init(params), x, radius=0.1)


def several_vectors(count):
    return lambda params, x: curvature.hvp(loss, params, repeated(count, params), x, chunk=count)


def trace(count):
    """Return the program of a trace by Hessian-vector products, all at once."""
    hvp = part(curvature.hvp, loss)
    return lambda params, x: curvature.trace(hvp, params, x, probes=repeated(count, params), chunk=count)


def linearized(product, count, *targets):
    """Return the program of some products at one point, and of what is known beside them there."""

    def program(params, x):
        found = curvature.linearize(product, params, x, *targets)
        return found.value, found.gradient, [found(jax.tree.map(part(jnp.add, i), params)) for i in range(count)]

    return program


def pairs(k):
    """Return the products of all pairs of gradients, in gradients.

    A multiplication and an addition for each parameter; and all of it once more, in the branch for gradients whose
    squares are out of range, which is in the program and is not taken.
    """
    return for_each_weight(4 * k**2)


ONE = "gradient", lambda _: 1
CLAIMS = [
    Claim("gradient.gradient_norm", "One gradient.", *ONE, lambda _: part(gradient.gradient_norm, loss)),
    Claim("gradient.named_gradients", "One gradient.", *ONE, lambda _: part(gradient.named_gradients, loss)),
    Claim(
        "gradient.value_and_grad",
        "One gradient: at most 4 evaluations of the loss",
        *ONE,
        lambda _: part(gradient.value_and_grad, loss),
    ),
    Claim(
        "shift.expected_gradient",
        "``K`` gradients",
        "gradient",
        lambda k: k,
        shifted(shift.expected_gradient),
        (2, 4),
        within=CLOSE,
    ),
    Claim(
        "shift.expected_gradient",
        "``2 K`` with ``antithetic``",
        "gradient",
        lambda k: 2 * k,
        shifted(shift.expected_gradient, antithetic=True),
        (2,),
        within=CLOSE,
    ),
    Claim(
        "shift.evolution_gradient",
        "``2 K`` losses",
        "evaluation",
        lambda k: 2 * k,
        shifted(shift.evolution_gradient, scale=0.1),
        (2, 4),
    ),
    Claim(
        "shift.score_function_gradient",
        "``K`` losses",
        "evaluation",
        lambda k: k,
        shifted(shift.score_function_gradient, scale=0.1),
        (2, 4),
    ),
    Claim(
        "shift.fisher_sam_gradient",
        "Two gradients",
        "gradient",
        lambda _: 2,
        lambda _: in_its_own_direction(part(shift.fisher_sam_gradient, loss, radius=0.1)),
    ),
    Claim("shift.msam_gradient", "One gradient.", *ONE, lambda _: msam),
    Claim(
        "curvature.ggn_product",
        "About 1.7 gradients in time",
        "gradient",
        lambda _: 1.7,
        of_model(curvature.ggn_product),
    ),
    Claim(
        "curvature.fisher_product",
        "about 1.7 gradients",
        "gradient",
        lambda _: 1.7,
        of_model(curvature.fisher_product, kind="empirical"),
    ),
    Claim(
        "curvature.hvp",
        "Of several vectors each takes 1.9 gradients beside the 2/3 of one that they share",
        "gradient",
        lambda k: 2 / 3 + 1.9 * k,
        several_vectors,
        (2, 8),
        within=CLOSE,
    ),
    Claim(
        "curvature.linearize",
        "One gradient (FLOPs) once, with the value and the gradient; 1.9 for each product with the Hessian",
        "gradient",
        lambda k: 1 + 1.9 * k,
        part(linearized, part(curvature.hvp, loss)),
        (1, 4),
        within=CLOSE,
    ),
    Claim(
        "curvature.linearize",
        "1.3 for each with the Gauss-Newton matrix",
        "gradient",
        lambda k: 1 + 1.3 * k,
        lambda k: linearized(part(curvature.ggn_product, mlp_jax, **SQUARED), k, jnp.zeros((BATCH, WIDTH))),
        (1, 4),
        within=CLOSE,
    ),
    Claim(
        "curvature.trace",
        "``num_samples`` products",
        "gradient",
        lambda k: 2 / 3 + 1.9 * k,  # at one point, as `hvp` of several vectors
        trace,
        (2, 4),
        within=CLOSE,
    ),
    Claim(
        "curvature.kfac",
        "about 1.35 gradients (FLOPs) for a multilayer perceptron",
        "gradient",
        lambda _: 1.35,
        lambda _: part(curvature.kfac, loss),
        compiled=True,  # XLA keeps one of the forwards
    ),
    Claim(
        "per_example.weighted_sum",
        "One gradient of the batch",
        *ONE,
        lambda _: part(per_example.weighted_sum, loss, weights=np.ones(BATCH, np.float32)),
    ),
    Claim(
        "per_example.moments",
        "About 4/3 of a gradient of the batch",
        "gradient",
        lambda _: 4 / 3,
        lambda _: part(per_example.moments, loss),
    ),
    Claim(
        "per_example.noise_scale",
        "about one gradient of the batch",
        *ONE,
        lambda _: part(per_example.noise_scale, loss),
    ),
    Claim(
        "per_example.norms",
        "less than one gradient of the batch where examples have few positions",
        *ONE,
        lambda _: part(per_example.norms, loss),
        within=(0.6, 1.0),
    ),
    Claim(
        "per_example.empirical_fisher_product",
        "About 5/3 of a gradient of the batch",
        "gradient",
        lambda _: 5 / 3,
        lambda _: in_another_direction(part(per_example.empirical_fisher_product, loss)),
        within=CLOSE,
        compiled=True,  # the derivatives along the direction and the sum have one forward
    ),
    Claim(
        "multi_loss.losses_and_gradients",
        "One forward and ``K`` backwards.",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        lambda k: part(multi_loss.losses_and_gradients, several(k), chunk=k),
        (2, 8),
        within=CLOSE,
    ),
    Claim(
        "multi_loss.gram",
        "One forward, ``K`` backwards, and ``K^2`` multiplications and additions for each of ``params``",
        "gradient",
        lambda k: (1 + 2 * k) / 3 + pairs(k),
        lambda k: part(multi_loss.gram, several(k), chunk=k),
        (2, 8, 16),
        within=CLOSE,
    ),
    Claim(
        "multi_loss.aggregated_gradient",
        "One forward, ``K + 1`` backwards",
        "gradient",
        lambda k: (1 + 2 * (k + 1)) / 3 + pairs(k),
        lambda k: part(multi_loss.aggregated_gradient, several(k), weighting=multi_loss.upgrad, chunk=k),
        (4, 8, 16),
        within=CLOSE,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

"""Cost lines of Taylor series, counted in evaluations of a network."""

import collections
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import nth
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import Claim, at_points, check, dimension

part = functools.partial


def all_terms(order):
    """Return a series whose every coefficient moves: no layer is linear along it."""
    return lambda fun, z: nth.jet(fun, (z,), ([z + k for k in range(order)],))


def along_a_line(operator):
    return lambda order: at_points(lambda fun, z: operator(fun, z, jnp.ones_like(z), order))


def on_a_line(order):
    """Return what a series takes of five equal layers: through the first, which is linear, it has two terms."""
    return (2 + 4 * (order + 1)) / 5


def bent(params, x):
    """Return a loss of parameters that are bent, so that along a line all terms of their series are there."""
    return jnp.mean(mlp_jax(jax.tree.map(jnp.tanh, params), x) ** 2)


def in_parameter_space(fun):
    return lambda order: lambda params, x: nth.directional(fun, params, params, order, jnp.tile(x, (8, 1)))


def of_parameters(params, x):
    return jnp.mean(mlp_jax(params, x) ** 2)


def mixed(*orders):
    return lambda _: at_points(part(nth.mixed_partial, orders=orders))


def ode(order):
    def program(params, x):
        return jax.vmap(lambda z: nth.ode_series(lambda y: mlp_jax(params, y), z, order))(x)

    return program


def factored(rank):
    return at_points(part(nth.weighted_laplacian, factored=True), lambda z: jnp.outer(z, z)[:, :rank])


def every_partial(order):
    """Return the evaluations of all partials of an order; those with the same orders share the value."""

    def total(d):
        partials = itertools.combinations_with_replacement(range(d), order)
        orders = [tuple(sorted(collections.Counter(axes).values())) for axes in partials]
        return sum(math.prod(k + 1 for k in parts) - 1 for parts in orders) + len(set(orders))

    return total


CLAIMS = [
    Claim(
        "nth.jet",
        "About ``n + 1`` evaluations where one operand of each product is constant",
        "evaluation",
        lambda n: n + 1,
        lambda n: at_points(all_terms(n)),
        (2, 4),
        within=(0.95, 1.1),
    ),
    Claim(
        "nth.taylor_coefficients",
        "That of `directional`",
        "evaluation",
        on_a_line,
        along_a_line(nth.taylor_coefficients),
        (2, 4, 8),
        within=(0.95, 1.1),
    ),
    Claim(
        "nth.directional",
        "``(order + 1) * (order + 2) / 2`` where both vary otherwise",
        "evaluation",
        lambda n: 8 * ((n + 1) + 4 * (n + 1) * (n + 2) / 2) / 5,  # the input of the first layer is constant
        in_parameter_space(bent),
        (2, 4),
        within=(0.95, 1.1),
    ),
    Claim(
        "nth.directional",
        "``2 * order + 1`` where one is a line, as weights are in parameter space",
        "evaluation",
        lambda n: 8 * (2 + 4 * (2 * n + 1)) / 5,
        in_parameter_space(of_parameters),
        (2, 4),
        within=(0.95, 1.1),
    ),
    Claim(
        "nth.ode_series",
        "n evaluations in the linear layers",
        "evaluation",
        lambda n: n,
        ode,
        (1, 2, 4),
        within=(0.95, 1.1),
        compiled=True,  # XLA keeps one of what the series of lower orders share
    ),
    *(
        Claim(
            "nth.mixed_partial",
            "the product of ``order + 1`` over the variables that are differentiated, in evaluations of ``fun``",
            "evaluation",
            lambda _, orders=orders: math.prod(k + 1 for k in orders),
            mixed(*orders),
            (len(orders),),
            dimension,
            1,
        )
        for orders in ((1, 1), (2, 1), (1, 0, 1), (1, 1, 1))
    ),
    *(
        Claim(
            "nth.all_mixed",
            "The product of ``k + 1`` over the orders k of its variables, less the value that they share, in"
            " evaluations, for each of the ``binom(d + n - 1, n)`` partials; the value",
            "evaluation",
            every_partial(order),
            lambda _, order=order: at_points(lambda fun, z: nth.all_mixed(fun, z, order)),
            (2, 3),
            dimension,
            1,
        )
        for order in (2, 3)
    ),
    Claim(
        "nth.weighted_laplacian",
        "``r + 2`` for a factor",
        "evaluation",
        lambda r: r + 2,
        factored,
        (2, 8),
        lambda _: 8,
        1,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

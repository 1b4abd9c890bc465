"""Cost lines that are counted in products with a matrix, and what is said of the operations beside them."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import curvature
from tests.contract.products import FEW, Products, check_products

part = functools.partial
KEY = jax.random.key(0)


def times(params, vector, matrix):
    """Multiply by the matrix: the product of which all are made."""
    return matrix @ vector


def estimate(fun, **options):
    """Return programs of some samples."""
    return lambda n: part(fun, times, key=KEY, num_samples=n, **options)


def spaces(fun, **options):
    """Return programs of a number of Krylov spaces of three products each."""
    return estimate(fun, num_products=3, **options)


def steps(fun, **options):
    """Return programs of two Krylov spaces of a number of products."""
    return lambda n: part(fun, times, key=KEY, num_samples=2, num_products=n, **options)


def pairs(n):
    return part(curvature.eigenpairs, times, key=KEY, k=1, num_products=n)


def sketch(rank):
    return part(curvature.nystrom, times, key=KEY, rank=rank)


def solved(iterations):
    """Return a solve of some iterations; see ``turns`` of the claims."""
    del iterations
    return lambda params, matrix: curvature.solve(times, params, params, matrix, damping=1.0)


def solved_from(iterations):
    del iterations
    return lambda params, matrix: curvature.solve(times, params, params, matrix, damping=1.0, start=params)


def operator(columns):
    """Return the product of a sum of two terms with some columns."""

    def program(params, matrix):
        both = curvature.operator(times, params, matrix) + curvature.operator(times, params, matrix.T)
        return both @ jnp.ones((params.size, columns), params.dtype)

    return program


CLAIMS = [
    Products("curvature.diagonal", "``num_samples`` products", lambda n: n, estimate(curvature.diagonal)),
    Products(
        "curvature.diagonal",
        'twice as many products for ``"xdiag"``',
        lambda n: 2 * n,
        estimate(curvature.diagonal, method="xdiag"),
    ),
    Products("curvature.trace", "``num_samples`` products", lambda n: n, estimate(curvature.trace)),
    Products(
        "curvature.trace",
        'half as many more for ``"hutch++"``',
        lambda n: 1.5 * n,
        estimate(curvature.trace, method="hutch++"),
    ),
    Products(
        "curvature.trace",
        'twice as many for ``"xtrace"``',
        lambda n: 2 * n,
        estimate(curvature.trace, method="xtrace"),
    ),
    Products("curvature.eigenpairs", "``num_products`` products", lambda n: n, pairs),
    Products(
        "curvature.eigenpairs",
        "``4 * num_products**2 * P`` operations beside them",
        lambda n: 4 * n**2 * FEW,
        pairs,
        (64, 128),
        products=lambda n: n,
    ),
    Products("curvature.nystrom", "``rank`` products", lambda n: n, sketch),
    Products(
        "curvature.nystrom",
        "``18 * rank**2 * P`` operations beside them",
        lambda n: 18 * n**2 * FEW,
        sketch,
        (16, 32),
        products=lambda n: n,
    ),
    *(
        Products(
            f"curvature.{name}",
            "``num_samples * num_products`` products",
            claimed,
            program(getattr(curvature, name), **options),
        )
        for name, options in (("spectral_density", {}), ("log_determinant", {"damping": 1.0}))
        for claimed, program in ((lambda n: 3 * n, spaces), (lambda m: 2 * m, steps))
    ),
    *(
        Products(
            "curvature.solve",
            "One product an iteration, one for the residual",
            lambda n: n + 1,
            solved,
            (n,),
            turns=n,
        )
        for n in (1, 5)
    ),
    Products("curvature.solve", "and one for ``start``", lambda n: n + 2, solved_from, (5,), turns=5),
    Products("curvature.operator", "One product for each term and column", lambda n: 2 * n, operator),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check_products(claim)

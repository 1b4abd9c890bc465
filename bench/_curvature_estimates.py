"""Rows of the estimates and solves of ``curvature``: the unit of cost is what their products take alone."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matfree import decomp, funm, stochtrace
from scipy.sparse.linalg import eigsh

import torch_ref.curvature
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import curvature, per_example
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

DAMPING = 10.0
FISHER_DAMPING = 1e-4
"""Small against the eigenvalues of the empirical Fisher, so that conjugate gradients take their time."""


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network, in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


hessian = functools.partial(curvature.hvp, loss)
hessian_torch = functools.partial(torch_ref.curvature.hvp, loss_torch)


def draw(size: Sizes) -> tuple[Any, ...]:
    """Draw parameters, a direction, two arrays of data and probes."""
    sizes, batch = size.mlp, size.batch
    rng = np.random.default_rng(0)
    params = mlp_params(sizes, 0)
    probes = jax.tree.map(lambda leaf: rng.choice([-1.0, 1.0], size=(size.probes, *leaf.shape)), params)
    return params, mlp_params(sizes, 1), rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])), probes


def products(count: int, params: Any, vector: Any, x: Any, y: Any) -> Any:
    """Multiply one vector after the other, and nothing beside."""
    return jax.lax.fori_loop(0, count, lambda _, v: curvature.hvp(loss, params, v, x, y), vector)


def beside_products(
    ours: Callable[..., Any], count: int, rivals: list[Contender], given: Any, **options: Any
) -> Problem:
    """Return a row with ``count`` products for the unit of cost; ``given`` are its arguments as JAX arrays."""
    params, vector, x, y, *_ = given
    alone = jax.jit(functools.partial(products, count))
    arguments = params, vector, x, y
    return Problem(
        [Contender("jaxgrad", "jax", lambda: ours(*given), Program(ours, given)), *rivals],
        gradient=Contender(f"{count} products", "jax", lambda: alone(*arguments), Program(alone, arguments)),
        **options,
    )


def eigenpairs_problem(size: Sizes) -> Problem:
    """Eigenvalues by products against SciPy's restarted Lanczos, which is driven from the host."""
    given = to_jax(draw(size), size.dtype)
    k = size.top

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del probes
        return curvature.eigenpairs(hessian, params, x, y, k=k, num_products=size.products, start=vector)

    def scipy() -> Any:
        params, _, x, y, _ = given
        values = eigsh(curvature.operator(hessian, params, x, y).to_scipy(), k=k, which="LA", return_eigenvectors=False)
        return jnp.asarray(values[::-1][:2])

    # the outer two, which both have converged to a thousandth of float32's digits
    jitted = jax.jit(lambda *given: ours(*given).values[:2])
    return beside_products(jitted, size.products, [Contender("scipy eigsh", "jax", scipy)], given, agreement=1e-3)


def solve_problem(size: Sizes) -> Problem:
    """Conjugate gradients against those of JAX, to one tolerance."""
    given = to_jax(draw(size), size.dtype)
    settings = {"tolerance": 1e-5, "max_products": 100}

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del probes
        return curvature.solve(hessian, params, vector, x, y, damping=DAMPING, **settings).solution

    @jax.jit
    def of_jax(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del probes

        def damped(v: Any) -> Any:
            return jax.tree.map(lambda h, a: h + DAMPING * a, curvature.hvp(loss, params, v, x, y), v)

        return jax.scipy.sparse.linalg.cg(damped, vector, tol=1e-5, maxiter=100)[0]

    rival = Contender("jax.scipy cg", "jax", lambda: of_jax(*given), Program(of_jax, given))
    return beside_products(jax.jit(ours), 40, [rival], given, agreement=1e-3)


def estimate_problem(name: str, read: Callable[[Any], Any], rival: Callable[..., Any], size: Sizes) -> Problem:
    """Hutchinson's estimate against matfree's with the same probes."""
    given = to_jax(draw(size), size.dtype)
    function = getattr(curvature, name)

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del vector
        return read(function(hessian, params, x, y, probes=probes, chunk=1))

    def of_matfree(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del vector
        estimate = stochtrace.estimator_monte_carlo(rival(), lambda _: probes)
        with jax.numpy_rank_promotion("allow"):
            return estimate(lambda v: curvature.hvp(loss, params, v, x, y), None)

    theirs = jax.jit(of_matfree)
    contender = Contender("matfree", "jax", lambda: theirs(*given), Program(theirs, given))
    return beside_products(jax.jit(ours), size.probes, [contender], given, agreement=1e-3)


def log_determinant_problem(size: Sizes) -> Problem:
    """Quadrature against matfree's with the same probes, and the dense matrix of torch."""
    trees = draw(size)
    given = to_jax(trees, size.dtype)
    p, _, x, y, probes = to_torch(trees, size.dtype)
    options: Any = {"damping": DAMPING}
    steps = size.products

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del vector
        found = curvature.log_determinant(hessian, params, x, y, probes=probes, num_products=steps, **options)
        return found.estimate

    def of_matfree(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del vector
        integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(steps))
        estimate = stochtrace.estimator_monte_carlo(integrand, lambda _: probes)

        def damped(v: Any) -> Any:
            return jax.tree.map(lambda h, a: h + DAMPING * a, curvature.hvp(loss, params, v, x, y), v)

        return estimate(damped, None)

    theirs = jax.jit(of_matfree)
    rivals = [
        Contender("matfree", "jax", lambda: theirs(*given), Program(theirs, given)),
        Contender(
            "torch_ref",
            "torch",
            lambda: torch_ref.curvature.log_determinant(hessian_torch, p, x, y, probes=probes, **options)[0],
        ),
    ]
    return beside_products(jax.jit(ours), size.probes * steps, rivals, given, agreement=1e-3)


def spectral_density_problem(size: Sizes) -> Problem:
    """The smoothed spectrum against that of the dense matrix of torch with the same probes."""
    trees = draw(size)
    given = to_jax(trees, size.dtype)
    p, _, x, y, probes = to_torch(trees, size.dtype)
    grid = np.linspace(-2.0, 4.0, 100).astype(size.dtype)
    steps = size.products

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        del vector
        found = curvature.spectral_density(
            hessian, params, x, y, probes=probes, num_products=steps, grid=grid, bandwidth=0.5
        )
        return found.density

    def dense() -> Any:
        return torch_ref.curvature.spectral_density(
            hessian_torch, p, x, y, probes=probes, grid=to_torch(grid, size.dtype), bandwidth=0.5
        )[0]

    return beside_products(
        jax.jit(ours), size.probes * steps, [Contender("torch_ref", "torch", dense)], given, agreement=1e-3
    )


def row_space_problem(size: Sizes) -> Problem:
    """The solve among the examples against conjugate gradients among the parameters, to 1e-6."""
    given = to_jax(draw(size), size.dtype)[:4]
    fisher = functools.partial(per_example.empirical_fisher_product, loss)

    def ours(params: Any, vector: Any, x: Any, y: Any) -> Any:
        return curvature.row_space_solve(loss, params, vector, x, y, damping=FISHER_DAMPING).solution

    def by_products(params: Any, vector: Any, x: Any, y: Any) -> Any:
        options: Any = {"damping": FISHER_DAMPING, "tolerance": 1e-6, "max_products": 1000}
        return curvature.solve(fisher, params, vector, x, y, **options).solution

    program = jax.jit(by_products)
    rival = Contender("curvature.solve", "jax", lambda: program(*given), Program(program, given))
    gradient = jax.jit(jax.grad(loss))
    params, _, x, y = given
    unit = Contender("jax.grad", "jax", lambda: gradient(params, x, y), Program(gradient, (params, x, y)))
    mine = jax.jit(ours)
    return Problem(
        [Contender("jaxgrad", "jax", lambda: mine(*given), Program(mine, given)), rival], unit, agreement=1e-3
    )


def nystrom_problem(size: Sizes) -> Problem:
    """The damped inverse of the approximation of the squared Hessian against Woodbury's formula with flat vectors."""
    given = to_jax(draw(size), size.dtype)

    def squared(params: Any, v: Any, x: Any, y: Any) -> Any:
        return curvature.hvp(loss, params, curvature.hvp(loss, params, v, x, y), x, y)

    def ours(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        low = curvature.nystrom(squared, params, x, y, probes=probes, chunk=1)
        return low.inverse_product(vector, DAMPING)

    def formula(params: Any, vector: Any, x: Any, y: Any, probes: Any) -> Any:
        rows = jax.vmap(lambda tree: jax.flatten_util.ravel_pytree(tree)[0])
        omega = jnp.linalg.qr(rows(probes).T)[0]
        flat, tree = jax.flatten_util.ravel_pytree(vector)
        image = rows(jax.lax.map(lambda w: squared(params, tree(w), x, y), omega.T)).T
        inside = omega.T @ image + image.T @ image / DAMPING
        return tree((flat - image @ jnp.linalg.solve(inside, image.T @ flat) / DAMPING) / DAMPING)

    theirs = jax.jit(formula)
    rival = Contender("Woodbury, flat", "jax", lambda: theirs(*given), Program(theirs, given))
    return beside_products(jax.jit(ours), 2 * size.probes, [rival], given, agreement=1e-2)


NAME = "MLP {mlp}, batch {batch}"
LARGE = {"mlp": (784, 512, 512, 10), "batch": 256, "probes": 16}
FEW = {"mlp": (4, 8, 1), "batch": 256, "probes": 16}
TINY = {"mlp": (4, 8, 1), "batch": 32}


def row(name: str, what: str, build: Callable[[Sizes], Problem], **more: Any) -> Row:
    """Return a row on the large network."""
    return Row(name, f"{NAME}, {what}", build, {**LARGE, **more}, TINY | {"top": 2})


ROWS = [
    row("eigenpairs", "top {top} by {products} products", eigenpairs_problem, top=10, products=40),
    row("solve", "to 1e-5", solve_problem),
    row(
        "trace",
        "{probes} probes",
        functools.partial(estimate_problem, "trace", lambda found: found.estimate, stochtrace.monte_carlo_trace),
    ),
    row(
        "diagonal",
        "{probes} probes",
        functools.partial(estimate_problem, "diagonal", lambda found: found.estimate, stochtrace.monte_carlo_diagonal),
    ),
    row("row_space_solve", "to 1e-6", row_space_problem),
    row("nystrom", "squared Hessian, rank {probes}", nystrom_problem),
    Row(
        "log_determinant",
        f"{NAME}, {{probes}} spaces of {{products}}",
        log_determinant_problem,
        {**FEW, "products": 40},
        TINY | {"products": 20},
    ),
    Row(
        "spectral_density",
        f"{NAME}, {{probes}} spaces of {{products}}",
        spectral_density_problem,
        {**FEW, "products": 80},
        TINY | {"products": 20},
    ),
]

"""Cases H3 to H8: the matrices of curvature by their products, what is estimated of them, and what is solved."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import curvature
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

DAMPING = 0.5
"""Beside eigenvalues of the order of one: a solve loses no digits to the condition of the matrix."""


class Problem(NamedTuple):
    """A 3-4-2 network with logits for outputs, a vector like its parameters, and a batch of six examples."""

    params: Any
    vector: Any
    data: tuple[Any, Any]


def problem(dtype: np.dtype) -> tuple[Problem, Problem]:
    """Draw the problem, for JAX and for torch."""
    rng = np.random.default_rng(3)
    numbers = (mlp_params((3, 4, 2), 0), mlp_params((3, 4, 2), 1), (rng.normal(size=(6, 3)), rng.uniform(size=(6, 2))))
    return Problem(*to_jax(numbers, dtype)), Problem(*to_torch(numbers, dtype))


def loss(params: Any, x: Any, y: Any) -> Any:
    """Return the cross-entropy of independent yes or no answers, of a batch or of one example, in JAX."""
    logits = mlp_jax(params, x)
    return jnp.mean(jnp.sum(jax.nn.softplus(logits) - y * logits, -1))


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the cross-entropy of independent yes or no answers, in torch."""
    import torch

    logits = mlp_torch(params, x)
    return (torch.nn.functional.softplus(logits) - y * logits).sum(-1).mean()


NAMED = {"output_loss": "bernoulli"}
"""The same loss, of the logits."""

hessian = functools.partial(curvature.hvp, loss)
gauss_newton = functools.partial(curvature.ggn_product, mlp_jax, output_loss="bernoulli")


@case("H3", "Gauss-Newton and exact Fisher products of a network")
def products(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against a dense Jacobian around a dense Hessian of the loss, and a sum over all labels that there may be."""
    import torch_ref.curvature

    (p, v, (x, y)), (pt, vt, (xt, yt)) = problem(dtype)
    return [
        Quantity(
            "G v",
            lambda: gauss_newton(p, v, x, y),
            lambda: torch_ref.curvature.ggn_product(mlp_torch, pt, vt, xt, yt, **NAMED),
        ),
        Quantity(
            "F v",
            lambda: curvature.fisher_product(mlp_jax, p, v, x, y, output_loss="bernoulli"),
            lambda: torch_ref.curvature.fisher_product(mlp_torch, pt, vt, xt, yt, **NAMED),
        ),
    ]


def used(params: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    """Return the logits of one example, and what enters and leaves the weights, in torch."""
    import torch

    uses = {}
    for i, (name, layer) in enumerate(params.items()):
        entering = (torch.tanh(x) if i else x)[None]
        leaving = entering @ layer["weight"].T + layer["bias"]
        uses[f"{name}/weight"], x = [(entering, leaving)], leaving[0]
    return x, uses


@case("H4", "Kronecker factors of a network, times a vector")
def kronecker(dtype: np.dtype) -> list[Quantity | Criterion]:
    """K-FAC of the Gauss-Newton matrix, with exact blocks for the biases, against loops over examples and columns."""
    import torch_ref.curvature

    (p, v, (x, y)), (pt, vt, (xt, yt)) = problem(dtype)

    def product_torch() -> Any:
        found = torch_ref.curvature.kfac(used, pt, xt, yt, kind="exact", **NAMED)
        product = {}
        for name, layer in vt.items():
            a, g = found[f"{name}/weight"]
            product[name] = {"weight": g @ layer["weight"] @ a, "bias": found[f"{name}/bias"] @ layer["bias"]}
        return product

    return [
        Quantity(
            "(A x G) v",
            lambda: curvature.kfac(mlp_jax, p, x, y, kind="exact", output_loss="bernoulli").product(v),
            product_torch,
        )
    ]


@case("H5", "Trace and log-determinant of the Hessian, with given probes")
def estimates(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Four probes; the trace of every leaf from the same products; the determinant of the damped matrix."""
    import torch_ref.curvature

    (p, _, data), (pt, _, data_torch) = problem(dtype)
    rng = np.random.default_rng(4)
    signs = jax.tree.map(lambda leaf: rng.choice([-1.0, 1.0], size=(4, *leaf.shape)), mlp_params((3, 4, 2), 0))
    probes, probes_torch = to_jax(signs, dtype), to_torch(signs, dtype)
    hessian_torch = functools.partial(torch_ref.curvature.hvp, loss_torch)

    def determinant() -> Any:
        found = curvature.log_determinant(hessian, p, *data, damping=3.0, probes=probes)
        return {"estimate": found.estimate, "standard_error": found.standard_error}

    def determinant_torch() -> Any:
        given = {"damping": 3.0, "probes": probes_torch}
        found = torch_ref.curvature.log_determinant(hessian_torch, pt, *data_torch, **given)
        return dict(zip(("estimate", "standard_error"), found, strict=True))

    def trace_torch() -> Any:
        found = torch_ref.curvature.trace(hessian_torch, pt, *data_torch, probes=probes_torch)
        return dict(zip(("estimate", "standard_error", "per_leaf"), found, strict=True))

    return [
        Quantity("tr H", lambda: curvature.trace(hessian, p, *data, probes=probes)._asdict(), trace_torch),
        Quantity("log det(H + 3)", determinant, determinant_torch),
    ]


@case("H6", "Outer eigenvalues of the Hessian")
def eigenvalues(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The two largest, by Lanczos with the whole space, against the dense matrix."""
    import torch_ref.curvature

    (p, start, data), (pt, _, data_torch) = problem(dtype)
    hessian_torch = functools.partial(torch_ref.curvature.hvp, loss_torch)

    return [
        Quantity(
            "the two largest",
            lambda: curvature.eigenpairs(hessian, p, *data, k=2, num_products=26, start=start).values,
            lambda: torch_ref.curvature.eigenpairs(hessian_torch, pt, *data_torch, k=2)[0],
        )
    ]


@case("H7", "A damped Gauss-Newton system")
def solves(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Conjugate gradients to the last digit, against the dense matrix."""
    import torch_ref.curvature

    (p, rhs, data), (pt, rhs_torch, data_torch) = problem(dtype)
    product_torch = functools.partial(torch_ref.curvature.ggn_product, mlp_torch, **NAMED)
    return [
        Quantity(
            "(G + damping)^-1 b",
            lambda: inverse(p, *data, rhs),
            lambda: torch_ref.curvature.solve(product_torch, pt, rhs_torch, *data_torch, damping=DAMPING),
        )
    ]


def inverse(params: Any, x: Any, y: Any, rhs: Any) -> Any:
    """Solve with the damped Gauss-Newton matrix."""
    options: dict[str, Any] = {"damping": DAMPING, "tolerance": 64 * np.finfo(np.float64).eps, "max_products": 26}
    return curvature.solve(gauss_newton, params, rhs, x, y, **options).solution


@case("H8", "Influence of training examples on test losses")
def influences(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Four examples on the losses of the other two, through a solve, against every pair of gradients."""
    import torch_ref.curvature

    (p, _, (x, y)), (pt, _, (xt, yt)) = problem(dtype)
    product_torch = functools.partial(torch_ref.curvature.ggn_product, mlp_torch, **NAMED)

    def solve_torch(tree: Any) -> Any:
        return torch_ref.curvature.solve(product_torch, pt, tree, xt[:4], yt[:4], damping=DAMPING)

    train, test = (x[:4], y[:4]), (x[4:], y[4:])
    solve = functools.partial(inverse, p, *train)
    return [
        Quantity(
            "the scores",
            lambda: curvature.influence(loss, p, train, test, inverse=solve),
            lambda: torch_ref.curvature.influence(
                loss_torch, pt, (xt[:4], yt[:4]), (xt[4:], yt[4:]), inverse=solve_torch
            ),
        )
    ]

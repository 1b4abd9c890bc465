"""The row of ``curvature.gauss_newton``: one step for the residuals of a network."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.utils import _pytree as pytree

import torch_ref.curvature
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import curvature
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def residuals(params: Any, x: Any, y: Any) -> Any:
    """The errors of the network."""
    return mlp_jax(params, x)[:, 0] - y


def residuals_torch(params: Any, x: Any, y: Any) -> Any:
    """The errors of the network, in torch."""
    return mlp_torch(params, x)[:, 0] - y


def gauss_newton_problem(size: Sizes) -> Problem:
    """A step of Levenberg and Marquardt against normal equations with torch's vectorised Jacobian."""
    sizes, batch = size.mlp, size.batch
    rng = np.random.default_rng(0)
    trees = (mlp_params(sizes, 0), rng.normal(size=(batch, sizes[0])), rng.normal(size=batch))
    p, x, y = to_jax(trees, size.dtype)
    pt, xt, yt = to_torch(trees, size.dtype)
    gradient = jax.jit(jax.grad(lambda p, x, y: 0.5 * jnp.sum(residuals(p, x, y) ** 2)))
    optimizer = curvature.gauss_newton(residuals, damping=1.0)

    @jax.jit
    def ours(params: Any, x: Any, y: Any) -> Any:
        update, _ = optimizer.update(None, optimizer.init(params), params, batch=(x, y))
        return optax.apply_updates(params, update)

    def by_hand() -> Any:
        rows = torch.func.jacrev(residuals_torch)(pt, xt, yt)
        flat = [leaf.flatten(1) for leaf in pytree.tree_leaves(rows)]
        matrix, here = torch.cat(flat, 1), residuals_torch(pt, xt, yt)
        step = -torch.linalg.solve(matrix.T @ matrix + torch.eye(matrix.shape[1]), matrix.T @ here)
        leaves, structure = pytree.tree_flatten(pt)
        parts = step.split([leaf.numel() for leaf in leaves])
        moved = [leaf + part.reshape(leaf.shape) for leaf, part in zip(leaves, parts, strict=True)]
        return pytree.tree_unflatten(moved, structure)

    twin = torch_ref.curvature.gauss_newton(residuals_torch, damping=1.0)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, x, y), Program(ours, (p, x, y))),
            Contender("torch jacrev, normal equations", "torch", by_hand),
            Contender("torch_ref", "torch", lambda: twin(pt, 1, xt, yt)[0]),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


ROWS = [
    Row(
        "gauss_newton",
        "MLP {mlp}, {batch} residuals, one step",
        gauss_newton_problem,
        {"mlp": (8, 16, 16, 1), "batch": 256},
        {"mlp": (4, 8, 1), "batch": 32},
    )
]

"""Rows of the family ``curvature``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as pytree

import torch_ref.curvature
from bench import _curvature_networks as networks
from bench import _curvature_problems as problems
from bench._row import Contender, Problem, Program, Row
from jaxgrad import curvature
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network, in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


def hvp_problem(quick: bool) -> Problem:
    """Hessian-vector product against double backward and torch's forward over reverse."""
    sizes, batch = ((64, 128, 10), 32) if quick else ((784, 512, 512, 10), 256)
    rng = np.random.default_rng(0)
    trees = (
        mlp_params(sizes, 0),
        mlp_params(sizes, 1),
        rng.normal(size=(batch, sizes[0])),
        rng.normal(size=(batch, sizes[-1])),
    )
    p, v, x, y = to_jax(trees, np.float32)
    pt, vt, xt, yt = to_torch(trees, np.float32)
    gradient = jax.jit(jax.grad(loss))
    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: curvature.hvp(loss, p, v, x, y),
                Program(functools.partial(curvature.hvp, loss), (p, v, x, y)),
            ),
            Contender("torch_ref", "torch", lambda: torch_ref.curvature.hvp(loss_torch, pt, vt, xt, yt)),
            Contender(
                "torch.func",
                "torch",
                lambda: torch.func.jvp(torch.func.grad(lambda q: loss_torch(q, xt, yt)), (pt,), (vt,))[1],
            ),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


def dense_hessian_problem(quick: bool) -> Problem:
    """The whole Hessian of a small network against torch's row by row and its vectorised form."""
    sizes, batch = ((4, 8, 1), 32) if quick else ((8, 16, 16, 1), 256)
    rng = np.random.default_rng(0)
    trees = (mlp_params(sizes, 0), rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])))
    p, x, y = to_jax(trees, np.float32)
    pt, xt, yt = to_torch(trees, np.float32)
    in_jax_order = {name: dict(sorted(leaf.items())) for name, leaf in pt.items()}
    flat, structure = pytree.tree_flatten(in_jax_order)
    shapes = [leaf.shape for leaf in flat]
    gradient = jax.jit(jax.grad(loss))

    def loss_of_flat(vector: Any) -> Any:
        parts = vector.split([shape.numel() for shape in shapes])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return loss_torch(pytree.tree_unflatten(leaves, structure), xt, yt)

    whole = torch.cat([leaf.reshape(-1) for leaf in flat])
    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: curvature.dense_hessian(loss, p, x, y),
                Program(functools.partial(curvature.dense_hessian, loss), (p, x, y)),
            ),
            Contender(
                "torch_ref", "torch", lambda: torch_ref.curvature.dense_hessian(loss_torch, in_jax_order, xt, yt)
            ),
            Contender("torch.func", "torch", lambda: torch.func.hessian(loss_of_flat)(whole)),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


MLP = networks.mlp, ((784, 784, 512, 10), 256), ((64, 128, 10), 32)
WIDE = networks.mlp, ((784, 2500, 2500, 10), 256), ((64, 256, 10), 32)
CNN = networks.cnn, (28, (16, 32), 128, 256), (8, (4, 8), 16, 16)
SIZES = {
    "MLP 784-784-512-10 (1M), batch 256": MLP,
    "MLP 784-2500-2500-10 (8M), batch 256": WIDE,
    "CNN 28x28, 2 conv + 2 dense, batch 256": CNN,
}
SMALL = {sizes: network for sizes, network in SIZES.items() if network is not WIDE}


def product(name: str, kind: str, sizes: str, vectors: int | None = None) -> Row:
    """A row of one product, or that of several vectors."""
    return Row(name, sizes, functools.partial(problems.product_problem, kind, *SIZES[sizes], vectors))


ROWS = [
    Row("hvp", "MLP 784-512-512-10, batch 256", hvp_problem),
    *(product("hvp", "hvp", sizes) for sizes in SIZES),
    *(product("hvp, 8 vectors", "hvp", sizes, 8) for sizes in SMALL),
    *(product("ggn_product", "ggn_product", sizes) for sizes in SMALL),
    *(product("ggn_product, 8 vectors", "ggn_product", sizes, 8) for sizes in SMALL),
    product("fisher_product", "fisher_product", next(iter(SIZES))),
    *(
        Row(f"linearize {kind}", sizes, functools.partial(problems.linearized_problem, kind, *network))
        for kind in ("hvp", "ggn_product")
        for sizes, network in SMALL.items()
    ),
    Row("jacobian_product", next(iter(SIZES)), functools.partial(problems.jacobian_problem, *MLP)),
    Row("over_dataset", "ggn_product, 1M, 64 batches", functools.partial(problems.dataset_problem, *MLP, 64)),
    Row("dense_hessian", "MLP 8-16-16-1 (433 parameters), batch 256", dense_hessian_problem),
]

"""Cases H: Hessian-vector products."""

from typing import Any

import jax
import numpy as np

from jaxgrad import _tree, curvature
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def output(params: Any, x: Any) -> Any:
    """Return the output of the 2-5-1 ReLU network for one point, in JAX."""
    return mlp_jax(params, x, jax.nn.relu)[0]


def output_torch(params: Any, x: Any) -> Any:
    """Return the output of the 2-5-1 ReLU network for one point, in torch."""
    import torch

    return mlp_torch(params, x, torch.relu)[0]


@case("H1", "Hessian-vector product of the 2-5-1 network")
def hessian_vector(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Weights only (15 numbers) and all leaves, against double backward and the dense Hessian."""
    import torch
    from torch.utils import _pytree as pytree

    import torch_ref.curvature

    params, vector, x = mlp_params((2, 5, 1), 0), mlp_params((2, 5, 1), 1), np.array([3.0, 3.0])
    p, v, point = to_jax((params, vector, x), dtype)
    pt, vt, xt = to_torch((params, vector, x), dtype)

    def without_biases(tree: Any) -> Any:
        return {name: {"weight": leaf["weight"], "bias": torch.zeros_like(leaf["bias"])} for name, leaf in tree.items()}

    def weights_only() -> Any:
        return without_biases(torch_ref.curvature.hvp(output_torch, pt, without_biases(vt), xt))

    def dense_times_vector() -> Any:
        flat, structure = pytree.tree_flatten(vt)
        product = torch_ref.curvature.dense_hessian(output_torch, pt, xt) @ torch.cat([f.reshape(-1) for f in flat])
        parts = product.split([f.numel() for f in flat])
        return pytree.tree_unflatten([part.reshape(f.shape) for part, f in zip(parts, flat, strict=True)], structure)

    return [
        Quantity(
            "H r, all leaves",
            lambda: curvature.hvp(output, p, v, point),
            lambda: torch_ref.curvature.hvp(output_torch, pt, vt, xt),
        ),
        Quantity("H r against the dense H", lambda: curvature.hvp(output, p, v, point), dense_times_vector),
        Quantity("H r, weights only", lambda: curvature.hvp(output, p, v, point, wrt="*/weight"), weights_only),
    ]


@case("H2", "The Hessian is symmetric and linear; H 0 = 0")
def laws(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Both inner products, a combination of vectors, and a zero vector, on a tanh network over a batch."""
    import torch

    import torch_ref.curvature

    sizes, rng = (6, 8, 8, 1), np.random.default_rng(2)
    trees = [mlp_params(sizes, seed) for seed in range(3)]
    x = rng.normal(size=(16, 6))
    p, u, v, points = to_jax((*trees, x), dtype)
    pt, ut, vt, xt = to_torch((*trees, x), dtype)

    def loss(params: Any, x: Any) -> Any:
        return (mlp_jax(params, x) ** 2).mean()

    def loss_torch(params: Any, x: Any) -> Any:
        return (mlp_torch(params, x) ** 2).mean()

    dot = jax.jit(_tree.dot)

    def product(vector: Any) -> Any:
        return curvature.hvp(loss, p, vector, points)

    def product_torch(vector: Any) -> Any:
        return torch_ref.curvature.hvp(loss_torch, pt, vector, xt)

    # from what was cast, so that no precision rounds the combination of other numbers
    combined = to_jax(jax.tree.map(lambda a, b: 2 * a - 3 * b, *map(_as_numpy, (u, v))))
    zero, zero_torch = to_jax(jax.tree.map(np.zeros_like, trees[2]), dtype), jax.tree.map(torch.zeros_like, vt)
    return [
        Quantity(
            "u . H v = v . H u",
            lambda: {"uHv": dot(u, product(v)), "vHu": dot(v, product(u))},
            lambda: dict.fromkeys(("uHv", "vHu"), _dot_torch(ut, product_torch(vt))),
        ),
        Quantity(
            "H (2u - 3v) = 2 H u - 3 H v",
            lambda: product(combined),
            lambda: jax.tree.map(lambda a, b: 2 * a - 3 * b, product_torch(ut), product_torch(vt)),
        ),
        Quantity(
            "H 0 = 0",
            lambda: product(zero),
            lambda: product_torch(zero_torch),
            truth=jax.tree.map(np.zeros_like, trees[0]),
        ),
    ]


def _as_numpy(tree: Any) -> Any:
    """Return a tree of JAX arrays as NumPy's."""
    return jax.tree.map(np.asarray, tree)


def _dot_torch(tree: Any, other: Any) -> Any:
    """Return the inner product of two torch trees."""
    return sum((a * b).sum() for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True))

"""Cases P, per-example gradients, and F6, a one-sample model over a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import per_example
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.judge._tolerances import SEMI_DEFINITE


def model(params: Any, x: Any) -> Any:
    """Return the ReLU of a dot product, for one point, in JAX."""
    return jnp.maximum(params["weight"] @ x, 0)


def model_torch(params: Any, x: Any) -> Any:
    """Return the ReLU of a dot product, for one point, in torch."""
    return (params["weight"] @ x).clamp(min=0)


def loss(params: Any, x: Any, y: Any) -> Any:
    """Return the squared error on one example, in JAX."""
    return (model(params, x) - y) ** 2


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the squared error on one example, in torch."""
    return (model_torch(params, x) - y) ** 2


def problem(dtype: np.dtype) -> tuple[Any, Any]:
    """Draw the weight and a batch of 3 with 5 features, away from the kink, for JAX and for torch."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=5)
    x = rng.normal(size=(3, 5))
    # two of the three examples are on the active side, so that P1 to P3 do not all vanish
    x *= np.sign(x @ weight)[:, None] * np.array([1, 1, -1])[:, None]
    numbers = ({"weight": weight}, x, rng.normal(size=3))
    return to_jax(numbers, dtype), to_torch(numbers, dtype)


@case("F6", "A one-sample model over a batch")
def one_sample(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Five features, the ReLU of a dot product, against a loop over samples."""
    import torch_ref.per_example

    (p, x, _), (pt, xt, _) = problem(dtype)
    return [
        Quantity(
            "f(x_i)",
            lambda: per_example.values(model, p, x),
            lambda: torch_ref.per_example.values(model_torch, pt, xt),
        )
    ]


@case("P1", "One gradient for every example")
def stacked(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The stacked gradients against a loop, and their mean against the gradient of the batch."""
    import torch

    import torch_ref.per_example

    (p, x, y), (pt, xt, yt) = problem(dtype)

    def batch_gradient() -> Any:
        weight = pt["weight"].clone().requires_grad_()
        losses = torch.stack([loss_torch({"weight": weight}, xt[i], yt[i]) for i in range(len(yt))])
        return {"weight": torch.autograd.grad(losses.mean(), weight)[0]}

    return [
        Quantity(
            "stacked gradients",
            lambda: per_example.gradients(loss, p, x, y),
            lambda: torch_ref.per_example.gradients(loss_torch, pt, xt, yt),
        ),
        Quantity(
            "their mean",
            lambda: jax.tree.map(lambda g: np.asarray(g).mean(0), per_example.gradients(loss, p, x, y)),
            batch_gradient,
        ),
    ]


@case("P2", "Empirical Fisher matrix")
def fisher(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The matrix, its product with a vector, and that it is symmetric and positive semi-definite."""
    import torch_ref.per_example

    (p, x, y), (pt, xt, yt) = problem(dtype)
    vector = {"weight": np.arange(1.0, 6.0)}
    v, vt = to_jax(vector, dtype), to_torch(vector, dtype)

    def semi_definite() -> tuple[bool, str]:
        matrix = np.asarray(per_example.empirical_fisher(loss, p, x, y), np.float64)
        smallest = float(np.linalg.eigvalsh(matrix).min())
        symmetric = bool((matrix == matrix.T).all())
        return symmetric and smallest > -SEMI_DEFINITE, f"smallest eigenvalue {smallest:.1e}, symmetric: {symmetric}"

    return [
        Quantity(
            "G^T G / B",
            lambda: per_example.empirical_fisher(loss, p, x, y),
            lambda: torch_ref.per_example.empirical_fisher(loss_torch, pt, xt, yt),
        ),
        Quantity(
            "F v",
            lambda: per_example.empirical_fisher_product(loss, p, v, x, y),
            lambda: torch_ref.per_example.empirical_fisher_product(loss_torch, pt, vt, xt, yt),
        ),
        Criterion("symmetric and positive semi-definite", semi_definite),
    ]


@case("P3", "Per-example norms, and the sum of clipped gradients")
def clipped(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Norms against a loop; the clipped sum at a norm that clips some examples and not others."""
    import torch_ref.per_example

    (p, x, y), (pt, xt, yt) = problem(dtype)
    largest = float(torch_ref.per_example.norms(loss_torch, pt, xt, yt).max())
    clip_norm = round(largest / 2, 3)
    return [
        Quantity(
            "norms",
            lambda: per_example.norms(loss, p, x, y),
            lambda: torch_ref.per_example.norms(loss_torch, pt, xt, yt),
        ),
        Quantity(
            "clipped sum and its measurements",
            lambda: _as_tree(per_example.clipped_sum(loss, p, x, y, clip_norm=clip_norm)),
            lambda: _as_tree(torch_ref.per_example.clipped_sum(loss_torch, pt, xt, yt, clip_norm=clip_norm)),
        ),
    ]


def _as_tree(result: Any) -> Any:
    """Give the sum and its measurements the same paths in both frameworks."""
    total, info = result
    return {"sum": total, **info._asdict()}

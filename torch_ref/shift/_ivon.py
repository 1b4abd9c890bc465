"""IVON with the weights noised in place of shifted, entry by entry as algorithm 1 of the paper has it."""

import math
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree


class Ivon(NamedTuple):
    """The functions of `ivon`."""

    init: Any
    sample: Any
    update: Any


def ivon(
    learning_rate: Any,
    effective_sample_size: float,
    *,
    hessian_init: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.99999,
    weight_decay: float = 1e-4,
    clip_radius: float = math.inf,
    rescale: bool = True,
    estimator: str = "price",
) -> Ivon:
    """Build the steps of IVON on trees of tensors; the state is a dictionary."""

    def init(params: Any) -> dict[str, Any]:
        momentum = pytree.tree_map(torch.zeros_like, params)
        return {"count": 0, "momentum": momentum, "hessian": pytree.tree_map(lambda m: m + hessian_init, momentum)}

    def sample(params: Any, state: dict[str, Any], *, generator: Any) -> Any:
        def noise(w: Any, h: Any) -> Any:
            z = torch.randn(w.shape, generator=generator, dtype=w.dtype)
            return z / (effective_sample_size * (h + weight_decay)).sqrt()

        return pytree.tree_map(noise, params, state["hessian"])

    def update(gradients: Any, shifts: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        slopes, structure = pytree.tree_flatten(gradients)
        rate = (learning_rate(state["count"]) if callable(learning_rate) else learning_rate) * (
            hessian_init + weight_decay if rescale else 1
        )
        count = state["count"] + 1
        out: dict[str, list[Any]] = {"updates": [], "momentum": [], "hessian": []}
        trees = (shifts, state["momentum"], state["hessian"], params)
        for g, a, m, h, w in zip(slopes, *map(pytree.tree_leaves, trees), strict=True):
            if g.dim() == w.dim():
                g, a = g[None], a[None]
            precision = effective_sample_size * (h + weight_decay)
            found = (effective_sample_size * g**2 if estimator == "squared" else g * a * precision).mean(0)
            momentum = beta1 * m + (1 - beta1) * g.mean(0)
            correction = 0.5 * (1 - beta2) ** 2 * (h - found) ** 2 / (h + weight_decay)
            hessian = beta2 * h + (1 - beta2) * found + correction
            step = (momentum / (1 - beta1**count) + weight_decay * w) / (hessian + weight_decay)
            out["updates"].append(-rate * step.clamp(-clip_radius, clip_radius))
            out["momentum"].append(momentum)
            out["hessian"].append(hessian)
        updates, momentum, hessian = (pytree.tree_unflatten(leaves, structure) for leaves in out.values())
        return updates, {"count": count, "momentum": momentum, "hessian": hessian}

    return Ivon(init, sample, update)

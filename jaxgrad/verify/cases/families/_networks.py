"""The small networks of the cases, written once for both frameworks on one tree of ``weight`` and ``bias``."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["mlp_jax", "mlp_params", "mlp_torch"]


def mlp_params(sizes: tuple[int, ...], seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Draw the layers of a dense network: ``{"layer0": {"weight": (out, in), "bias": (out,)}, ...}``."""
    rng = np.random.default_rng(seed)
    return {
        f"layer{i}": {"weight": rng.normal(size=(b, a)) / np.sqrt(a), "bias": rng.normal(size=b) / 2}
        for i, (a, b) in enumerate(itertools.pairwise(sizes))
    }


def mlp_jax(params: Any, x: Any, activation: Any = jnp.tanh) -> Any:
    """Apply the network to ``x`` of shape ``(..., in)`` in JAX; the last layer is linear."""
    for i in range(len(params)):
        x = (activation(x) if i else x) @ params[f"layer{i}"]["weight"].T
        x = x + jnp.expand_dims(params[f"layer{i}"]["bias"], tuple(range(x.ndim - 1)))
    return x


def mlp_torch(params: Any, x: Any, activation: Any = None) -> Any:
    """Apply the network in torch."""
    import torch

    for i in range(len(params)):
        x = (activation or torch.tanh)(x) if i else x
        x = torch.nn.functional.linear(x, params[f"layer{i}"]["weight"], params[f"layer{i}"]["bias"])
    return x

"""Some steps of projected descent with momentum."""

from typing import Any

import torch

from torch_ref.multi_loss._modo import projected


def sdmgrad(
    *,
    strength: float = 0.3,
    preferences: Any = None,
    learning_rate: float = 10.0,
    momentum: float = 0.5,
    num_steps: int = 20,
) -> Any:
    """Return the pair of functions."""

    def init(num_losses: int) -> Any:
        return torch.full((num_losses,), 1 / num_losses, dtype=torch.float64)

    def update(products: Any, state: Any) -> Any:
        chosen = torch.full_like(state, 1 / len(state)) if preferences is None else preferences
        unit = products.diagonal().clamp_min(0).sqrt().mean()
        weights, steps = state, []
        for _ in range(num_steps):
            steps.append((products / unit**2) @ (weights + strength * chosen))
            velocity = sum(momentum**age * step for age, step in enumerate(reversed(steps)))
            weights = projected(weights - learning_rate * velocity)
        return (weights + strength * chosen) / (1 + strength), weights

    return init, update

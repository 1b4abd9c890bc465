"""Weights that a torch optimizer moves along the gradient of the distance of the norms from their targets."""

from typing import Any

import torch


def gradnorm(*, optimizer: Any, alpha: float = 1.5) -> Any:
    """Return the pair of functions; ``optimizer`` makes an optimizer of a list of parameters."""

    def init(num_losses: int) -> Any:
        weights = torch.ones(num_losses, dtype=torch.float64, requires_grad=True)
        return {"weights": weights, "optimizer": optimizer([weights]), "first": None}

    def update(losses: Any, state: Any, *, norms: Any) -> Any:
        weights, now = state["weights"], losses.detach()
        first = now if state["first"] is None else state["first"]
        left = now / first
        value = weights.detach().clone() @ losses
        scaled = weights * norms
        target = (scaled.mean() * (left / left.mean()) ** alpha).detach()
        state["optimizer"].zero_grad()
        (scaled - target).abs().sum().backward()
        state["optimizer"].step()
        with torch.no_grad():
            weights *= len(weights) / weights.sum()
        return value, {**state, "first": first}

    return init, update

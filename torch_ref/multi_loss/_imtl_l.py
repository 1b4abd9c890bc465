"""Scales that a torch optimizer moves along their gradient by autograd."""

from typing import Any

import torch


def imtl_l(*, optimizer: Any) -> Any:
    """Return the pair of functions; ``optimizer`` makes an optimizer of a list of parameters."""

    def init(num_losses: int) -> Any:
        logs = torch.zeros(num_losses, dtype=torch.float64, requires_grad=True)
        return {"log_scales": logs, "optimizer": optimizer([logs])}

    def update(losses: Any, state: Any) -> Any:
        value = sum(torch.exp(s) * loss - s for s, loss in zip(state["log_scales"], losses, strict=True))
        state["optimizer"].zero_grad()
        value.backward()
        state["optimizer"].step()
        return value.detach(), state

    return init, update

"""Log-variances that a torch optimizer moves along their gradient by autograd."""

from typing import Any

import torch


def uncertainty(*, optimizer: Any) -> Any:
    """Return the pair of functions; ``optimizer`` makes an optimizer of a list of parameters."""

    def init(num_losses: int) -> Any:
        logs = torch.zeros(num_losses, dtype=torch.float64, requires_grad=True)
        return {"log_variances": logs, "optimizer": optimizer([logs])}

    def update(losses: Any, state: Any) -> Any:
        variances = torch.exp(state["log_variances"])
        value = (losses / (2 * variances) + torch.log(torch.sqrt(variances))).sum()
        state["optimizer"].zero_grad()
        value.backward()
        state["optimizer"].step()
        return value.detach(), state

    return init, update

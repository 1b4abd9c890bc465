"""Logits that a torch optimizer moves by how much the losses fell."""

import functools
from typing import Any

import torch


def famo(*, optimizer: Any = None, lower_bounds: Any = None) -> Any:
    """Return the pair of functions; ``optimizer`` makes an optimizer of a list of parameters."""
    made = functools.partial(torch.optim.Adam, lr=0.025, weight_decay=1e-3) if optimizer is None else optimizer
    bounds = 0.0 if lower_bounds is None else lower_bounds

    def init(num_losses: int) -> Any:
        logits = torch.zeros(num_losses, dtype=torch.float64, requires_grad=True)
        return {"logits": logits, "optimizer": made([logits]), "losses": None}

    def update(losses: Any, state: Any, *, after: Any = None) -> Any:
        logits, before = state["logits"], state["losses"]
        if before is not None:
            reached = (losses if after is None else after).detach()
            fall = torch.log((before - bounds) / (reached - bounds))
            state["optimizer"].zero_grad()
            (torch.softmax(logits, 0) @ fall).backward()
            state["optimizer"].step()
        shares = torch.softmax(logits.detach(), 0)
        scale = 1 / (shares / (losses.detach() - bounds)).sum()
        return scale * (shares @ torch.log(losses - bounds)), {**state, "losses": losses.detach()}

    return init, update

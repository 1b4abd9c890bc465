"""Weights as a product of exponentials, by sums over the whole history of the gradients."""

from typing import Any

import torch


def excess_mtl(*, learning_rate: float = 1.0, num_warmup_steps: int = 0) -> Any:
    """Return the pair of functions; the rows are one matrix."""

    def init(num_losses: int, params: Any) -> Any:
        return {"history": [], "shape": (num_losses, *params.shape)}

    def update(rows: Any, state: Any) -> Any:
        history = [*state["history"], rows.reshape(state["shape"])]
        excess = []
        for t in range(len(history)):
            below = torch.sqrt(sum(past**2 for past in history[: t + 1]))
            excess.append((history[t] ** 2 / below).nansum(1))
        first = torch.stack(excess[: max(num_warmup_steps, 1)]).mean(0)
        powers = [torch.exp(learning_rate * e / first) for e in excess[num_warmup_steps:]]
        weights = torch.stack([torch.ones_like(first), *powers]).prod(0)
        return weights / weights.sum(), {**state, "history": history}

    return init, update

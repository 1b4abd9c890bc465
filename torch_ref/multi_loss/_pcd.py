"""The program in the space of the vectors, by the conditions of a minimum for every set of active conditions."""

import itertools
from typing import Any

import torch


def pcd(*, fraction: float = 0.02, decay: float = 0.999) -> Any:
    """Return the pair of functions."""

    def init(num_losses: int) -> Any:
        return {"history": [], "num_losses": num_losses}

    def update(gram: Any, state: Any) -> Any:
        history = [*state["history"], gram.diagonal()]
        powers = torch.tensor([decay ** (len(history) - 1 - t) for t in range(len(history))], dtype=gram.dtype)
        usual = torch.sqrt((powers[:, None] * torch.stack(history)).sum(0) / powers.sum())
        values, vectors = torch.linalg.eigh(gram)
        rows = (vectors * values.clamp_min(0).sqrt()) / usual[:, None]
        weights = turned(rows, fraction)
        vector = weights @ rows
        return weights / usual * gram[0, 0].sqrt() / vector.norm(), {**state, "history": history}

    return init, update


def turned(rows: Any, fraction: float) -> Any:
    """Return the weights of the vector nearest to the first row that grants the others their share."""
    others = rows[1:]
    wanted = fraction * (others**2).sum(1)
    best, least = None, float("inf")
    for number in range(len(others) + 1):
        for chosen in itertools.combinations(range(len(others)), number):
            active, shares = list(chosen), torch.zeros(len(others), dtype=rows.dtype)
            if active:
                block = others[active]
                shares[active] = torch.linalg.pinv(block @ block.T) @ (wanted[active] - block @ rows[0])
            vector = rows[0] + shares @ others
            distance = (vector - rows[0]).norm()
            if (others @ vector >= wanted - 1e-12).all() and shares.min() >= 0 and distance < least:
                best, least = shares, distance
    shares = torch.zeros(len(others), dtype=rows.dtype) if best is None else best
    return torch.cat([torch.ones(1, dtype=rows.dtype), shares])

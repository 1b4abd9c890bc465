"""Turns one after another, on vectors of which the products are those of the matrix."""

from typing import Any

import torch


def gradvac(*, beta: float = 0.5) -> Any:
    """Return the pair of functions; ``orders`` says whom each gradient meets, one after another."""

    def init(num_losses: int) -> Any:
        return torch.zeros(num_losses, num_losses, dtype=torch.float64)

    def update(gram: Any, state: Any, *, orders: Any) -> Any:
        # rows whose products are those of the matrix
        values, vectors = torch.linalg.eigh(gram)
        rows, means = vectors * values.clamp_min(0).sqrt(), state.clone()
        turned = torch.eye(len(gram), dtype=gram.dtype)
        for k, order in enumerate(orders):
            for j in order:
                vector, other = turned[k] @ rows, rows[j]
                cosine, usual = torch.cosine_similarity(vector, other, dim=0, eps=0.0), means[k, j].clone()
                if cosine < usual:
                    angle, usually = torch.arccos(cosine), torch.arccos(usual)
                    # the law of sines, in the triangle of the vector and what is added to it
                    turned[k, j] += vector.norm() * torch.sin(angle - usually) / torch.sin(usually) / other.norm()
                means[k, j] = (1 - beta) * usual + beta * cosine
        return turned.sum(0), means

    return init, update

"""How gradients lie to each other, read off their inner products one pair after the other."""

import torch


def conflicts(gram: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the fields of the record as a dictionary."""
    count = len(gram)
    norms = torch.stack([gram[k, k].sqrt() for k in range(count)])
    cosines, similar = torch.zeros_like(gram), torch.ones_like(gram)
    for k in range(count):
        for j in range(count):
            if norms[k] > 0 and norms[j] > 0:
                cosines[k, j] = gram[k, j] / (norms[k] * norms[j])
            if norms[k] > 0 or norms[j] > 0:
                similar[k, j] = 2 * norms[k] * norms[j] / (norms[k] ** 2 + norms[j] ** 2)
    conflicting = torch.stack(
        [torch.stack([(k != j) & (cosines[k, j] < 0) for j in range(count)]) for k in range(count)]
    )
    return {
        "cosines": cosines,
        "magnitudes": norms,
        "magnitude_similarity": similar,
        "alignment": 2 * cosines.sum() / count**2 - 1,
        "conflicting": conflicting,
    }

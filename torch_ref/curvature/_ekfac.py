"""Corrected eigenvalues from dense matrices: the true block turned into the Kronecker eigenbasis, its diagonal kept."""

from typing import Any

import torch

from torch_ref.curvature._kfac import columns_of, kfac


def ekfac(
    loss_fn: Any,
    params: Any,
    *batch: Any,
    kind: str = "empirical",
    output_loss: Any = None,
    approximation: str = "expand",
    samples: Any = None,
    weights: Any = None,
) -> dict[str, torch.Tensor]:
    """Return the dense block of every leaf, over ``(in, out)`` in C order for one that is used as a matrix."""
    size = len(batch[0])
    weights = torch.ones(size, dtype=torch.float64) if weights is None else weights
    options = {"kind": kind, "output_loss": output_loss, "samples": samples, "weights": weights}
    factors = kfac(loss_fn, params, *batch, approximation=approximation, **options)
    true: dict[str, Any] = {}
    for n in range(size):
        example = tuple(part[n] for part in batch)
        drawn = None if samples is None else samples[:, n]
        entering, rows = columns_of(loss_fn, params, example, kind, output_loss, drawn)
        for cotangents, _ in rows:
            for path, inputs in entering.items():
                pairs = zip(torch.cat(inputs), torch.cat(cotangents[path]), strict=True)
                gradient = sum(torch.outer(a, b) for a, b in pairs).reshape(-1)
                true[path] = true.get(path, 0) + weights[n] / weights.sum() * torch.outer(gradient, gradient)
    for path, block in true.items():
        bases = [torch.linalg.eigh(factor)[1] for factor in factors[path]]
        basis = torch.kron(*bases)
        factors[path] = basis @ torch.diag(torch.diag(basis.T @ block @ basis)) @ basis.T
    return factors

"""The density of eigenvalues that probes see in the dense matrix."""

import math
from typing import Any

import torch

from torch_ref.curvature._dense_matrix import dense_matrix
from torch_ref.curvature._trace import error_of, rows


def spectral_density(
    product: Any, params: Any, *data: Any, probes: Any, grid: torch.Tensor, bandwidth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean over probes of their shares of all eigenvalues, as bumps, and its standard error."""
    matrix, _ = dense_matrix(product, params, *data)
    values, vectors = torch.linalg.eigh(matrix)
    given = rows(probes, params)
    shares = (given @ vectors) ** 2 / (given**2).sum(1, keepdim=True)
    bumps = torch.exp(-0.5 * ((grid[:, None] - values) / bandwidth) ** 2) / (bandwidth * math.sqrt(2 * math.pi))
    samples = shares @ bumps.T
    return samples.mean(0), error_of(samples)

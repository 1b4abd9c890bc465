"""The log-determinant that probes see in the dense matrix."""

from typing import Any

import torch

from torch_ref.curvature._dense_matrix import dense_matrix
from torch_ref.curvature._trace import error_of, rows


def log_determinant(
    product: Any, params: Any, *data: Any, damping: float, probes: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of ``v . log(A + damping) v`` and its standard error, by all eigenvectors."""
    matrix, _ = dense_matrix(product, params, *data)
    values, vectors = torch.linalg.eigh(matrix)
    samples = (rows(probes, params) @ vectors) ** 2 @ torch.log(values + damping)
    return samples.mean(), error_of(samples)

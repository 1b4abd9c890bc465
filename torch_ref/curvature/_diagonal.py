"""Estimates of a diagonal from the dense matrix, by their definitions."""

from typing import Any

import torch

from torch_ref.curvature._dense_matrix import dense_matrix
from torch_ref.curvature._trace import error_of, rows


def diagonal(product: Any, params: Any, *data: Any, probes: Any, method: str = "hutchinson") -> tuple[Any, Any]:
    """Return the estimate and its standard error, as trees."""
    matrix, tree = dense_matrix(product, params, *data)
    vectors = rows(probes, params)
    if method == "xdiag":
        samples = torch.stack([left_out(matrix, vectors, i) for i in range(len(vectors))])
    else:
        samples = vectors * (vectors @ matrix)
    return tree(samples.mean(0)), tree(error_of(samples))


def left_out(matrix: torch.Tensor, vectors: torch.Tensor, i: int) -> torch.Tensor:
    """Return the estimate of XDiag without probe ``i`` in the sketch, which measures the rest."""
    basis = torch.linalg.qr(matrix @ torch.cat([vectors[:i], vectors[i + 1 :]]).T).Q
    rest = matrix @ vectors[i] - basis @ (basis.T @ matrix @ vectors[i])
    return torch.diagonal(basis @ basis.T @ matrix) + vectors[i] * rest

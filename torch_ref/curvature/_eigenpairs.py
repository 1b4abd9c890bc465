"""Eigenvalues and eigenvectors of the dense matrix."""

from typing import Any

import torch

from torch_ref.curvature._dense_matrix import dense_matrix


def eigenpairs(product: Any, params: Any, *data: Any, k: int, which: str = "largest") -> tuple[torch.Tensor, list[Any]]:
    """Return the k eigenvalues at one end, that end first, and their eigenvectors as trees; each up to its sign."""
    matrix, tree = dense_matrix(product, params, *data)
    values, vectors = torch.linalg.eigh(matrix)
    score = {"largest": -values, "smallest": values, "magnitude": -values.abs()}[which]
    chosen = torch.argsort(score)[:k]
    return values[chosen], [tree(vectors[:, i]) for i in chosen]

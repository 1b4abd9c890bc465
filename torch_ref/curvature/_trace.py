"""Estimates of a trace from the dense matrix, by their definitions."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature._dense_matrix import dense_matrix


def rows(probes: Any, params: Any) -> torch.Tensor:
    """Return a stack of trees as the rows of a matrix."""
    leaves, structure = pytree.tree_flatten(params)
    parts = structure.flatten_up_to(probes)
    return torch.cat([part.reshape(len(part), leaf.numel()) for part, leaf in zip(parts, leaves, strict=True)], 1)


def error_of(samples: torch.Tensor) -> torch.Tensor:
    """Return the standard error of the mean over the first axis."""
    return samples.std(0) / len(samples) ** 0.5


def trace(
    product: Any, params: Any, *data: Any, probes: Any, method: str = "hutchinson"
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Return the estimate, its standard error, and for all but XTrace the trace of every leaf."""
    matrix, _ = dense_matrix(product, params, *data)
    vectors = rows(probes, params)
    leaves, structure = pytree.tree_flatten(params)

    def leafwise(vector: torch.Tensor) -> Any:
        parts = vector.split([leaf.numel() for leaf in leaves])
        return pytree.tree_unflatten([part.sum() for part in parts], structure)

    if method == "xtrace":
        estimates = torch.stack([left_out(matrix, vectors, i) for i in range(len(vectors))])
        return estimates.mean(), error_of(estimates), None
    if method == "hutch++":
        half = len(vectors) // 2
        basis = torch.linalg.qr(matrix @ vectors[:half].T).Q
        inside = basis @ basis.T
        outside = torch.eye(len(matrix), dtype=matrix.dtype) - inside
        left = vectors[half:] @ outside
        samples = left * (left @ matrix)
        known = torch.diagonal(matrix @ inside)
        total = torch.trace(inside @ matrix) + samples.sum(1).mean()
        return total, error_of(samples.sum(1)), leafwise(known + samples.mean(0))
    samples = vectors * (vectors @ matrix)
    return samples.sum(1).mean(), error_of(samples.sum(1)), leafwise(samples.mean(0))


def left_out(matrix: torch.Tensor, vectors: torch.Tensor, i: int) -> torch.Tensor:
    """Return the estimate of XTrace without probe ``i`` in the sketch, which measures the rest, on the sphere there."""
    others = torch.cat([vectors[:i], vectors[i + 1 :]])
    basis = torch.linalg.qr(matrix @ others.T).Q
    rest = vectors[i] - basis @ (basis.T @ vectors[i])
    scale = (len(matrix) - len(others)) / (rest @ rest)
    return torch.trace(basis.T @ matrix @ basis) + scale * (rest @ matrix @ rest)

"""Laplace's approximation with a dense curvature."""

from typing import Any

import torch

from torch_ref.curvature import _dense


def log_evidence(curved: Any, params: Any, loss: Any, *, prior_precision: float, num_examples: int) -> torch.Tensor:
    """Return the evidence from the determinant of the dense posterior precision."""
    flat = _dense.flat(params)
    precision = _precision(curved, prior_precision, num_examples)
    occam = torch.logdet(precision) - len(flat) * torch.log(torch.tensor(prior_precision, dtype=flat.dtype))
    return -num_examples * loss - prior_precision * flat @ flat / 2 - occam / 2


def predictive_covariance(
    model_fn: Any, params: Any, curved: Any, inputs: Any, *, prior_precision: float, num_examples: int
) -> torch.Tensor:
    """Multiply each dense Jacobian by the dense posterior covariance."""
    covariance = torch.linalg.inv(_precision(curved, prior_precision, num_examples))
    found = []
    for x in inputs:
        _, rows = _dense.jacobian(lambda p, x=x: model_fn(p, x), params)
        found.append(rows @ covariance @ rows.T)
    return torch.stack(found)


def _precision(curved: torch.Tensor, prior_precision: float, num_examples: int) -> torch.Tensor:
    """Return the precision of the posterior."""
    return num_examples * curved + prior_precision * torch.eye(len(curved), dtype=curved.dtype)

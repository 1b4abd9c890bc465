"""Differential operators from derivatives along given lines, one line after the other."""

from typing import Any

import torch

from torch_ref.nth._directional import directional


def stochastic_operator(
    fun: Any, x: torch.Tensor, *data: Any, operator: str = "laplacian", order: int = 2, probes: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of the derivatives along the probes and its standard error."""
    degree = {"laplacian": 2, "biharmonic": 4}.get(operator, order)
    factor = 1 / 3 if operator == "biharmonic" else 1.0
    samples = torch.stack([factor * directional(fun, x, probe, degree, *data) for probe in probes])
    return samples.mean(0), samples.std(0) / len(samples) ** 0.5

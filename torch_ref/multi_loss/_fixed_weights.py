"""Weights that do not look at the gradients."""

from typing import Any

import torch


def mean_weights(gram: Any) -> Any:
    """Return 1/K for each."""
    return torch.full((len(gram),), 1 / len(gram), dtype=gram.dtype)


def sum_weights(gram: Any) -> Any:
    """Return 1 for each."""
    return torch.ones(len(gram), dtype=gram.dtype)


def constant_weights(gram: Any, *, preferences: Any) -> Any:
    """Return what is given."""
    return preferences.to(gram.dtype)


def random_weights(gram: Any, *, draws: Any) -> Any:
    """Return the softmax of normal numbers that were drawn elsewhere."""
    powers = torch.exp(draws.to(gram.dtype))
    return powers / powers.sum()

"""The gradient noise scale from the covariance of flat gradients."""

from typing import Any

import torch

from torch_ref.per_example._gram import flat_gradients


def noise_scale(loss_fn: Any, params: Any, *batch: Any) -> Any:
    """Take the trace of the unbiased covariance, and correct the squared mean by it."""
    rows = torch.stack(flat_gradients(loss_fn, params, batch))
    trace = rows.var(0, correction=1).sum()
    squared_mean = rows.mean(0).square().sum() - trace / len(rows)
    return trace / squared_mean, trace, squared_mean

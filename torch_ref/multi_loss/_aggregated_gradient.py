"""One gradient from those of several losses: the rows, their products, the weights, the sum."""

from typing import Any

from torch_ref.multi_loss._aggregate import aggregate
from torch_ref.multi_loss._gradients import gradients


def aggregated_gradient(losses_fn: Any, params: Any, *data: Any, weighting: Any) -> Any:
    """Form the Jacobian, weigh its rows by ``weighting`` of their products, and add up."""
    return aggregate(gradients(losses_fn, params, *data), weighting=weighting)

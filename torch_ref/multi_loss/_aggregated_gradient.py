"""One gradient from those of several losses: the rows, their products, the weights, the sum."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gradients import gradients
from torch_ref.multi_loss._gram import matrix


def aggregated_gradient(losses_fn: Any, params: Any, *data: Any, weighting: Any) -> Any:
    """Form the Jacobian, weigh its rows by ``weighting`` of their products, and add up."""
    rows = gradients(losses_fn, params, *data)
    jacobian = matrix(rows)
    weights = weighting(jacobian @ jacobian.T)
    return pytree.tree_map(lambda leaf: sum(w * row for w, row in zip(weights, leaf, strict=True)), rows)

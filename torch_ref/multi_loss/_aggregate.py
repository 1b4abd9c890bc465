"""One vector from several gradients: their products, the weights, the sum, row by row."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.multi_loss._gram import matrix


def aggregate(rows: Any, *, weighting: Any) -> Any:
    """Weigh the rows by ``weighting`` of their products, and add up."""
    jacobian = matrix(rows)
    weights = weighting(jacobian @ jacobian.T)
    return pytree.tree_map(lambda leaf: sum(w * row for w, row in zip(weights, leaf, strict=True)), rows)

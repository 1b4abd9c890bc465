"""The gradient of Fisher-SAM, with the inverse of the whole matrix."""

from typing import Any

import torch

from torch_ref.shift._gradient import gradient
from torch_ref.shift._vectors import as_tree, as_vector


def fisher_sam_gradient(
    loss_fn: Any, params: Any, fisher: Any, *data: Any, radius: float, strength: float = 1.0
) -> Any:
    """Form the matrix, solve with it, and take the gradient at the end of the shift."""
    slope = as_vector(gradient(loss_fn, params, None, *data))
    matrix = torch.eye(len(slope), dtype=slope.dtype) + strength * torch.diag(as_vector(fisher))
    natural = torch.linalg.solve(matrix, slope)
    length = (slope @ natural).sqrt()
    shift = radius * natural / length if length > 0 else torch.zeros_like(slope)
    return gradient(loss_fn, params, as_tree(shift, params), *data)

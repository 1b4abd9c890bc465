"""The solution of the dense damped system."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature._dense_matrix import dense_matrix, flat


def solve(product: Any, params: Any, rhs: Any, *data: Any, damping: float) -> Any:
    """Return ``(A + damping I)^-1 rhs`` as a tree."""
    matrix, tree = dense_matrix(product, params, *data)
    damped = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype)
    return tree(torch.linalg.solve(damped, flat(rhs, pytree.tree_flatten(params)[1])))

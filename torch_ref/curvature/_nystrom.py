"""The Nystrom approximation by its formula."""

from typing import Any

import torch

from torch_ref.curvature._dense_matrix import dense_matrix
from torch_ref.curvature._trace import rows


def nystrom(product: Any, params: Any, *data: Any, probes: Any) -> torch.Tensor:
    """Return the dense approximation, in the order of the leaves of ``params``."""
    matrix, _ = dense_matrix(product, params, *data)
    given = rows(probes, params).T
    image = matrix @ given
    return image @ torch.linalg.pinv(given.T @ image, hermitian=True) @ image.T

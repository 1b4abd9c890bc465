"""Equal projections, as one linear system with the sum of the weights."""

from typing import Any

import torch


def imtl_g(gram: Any) -> Any:
    """All projections equal that on the first row, and the weights sum to 1; rows of zeros are left out."""
    weights = torch.zeros(len(gram), dtype=gram.dtype)
    rows = [k for k in range(len(gram)) if gram[k, k] > 0]
    if not rows:
        return weights
    lengths = gram.diagonal()[rows].sqrt()
    # in weights of rows of length 1, so that the system has no scale but that of the last equation
    projections = gram[rows][:, rows] / lengths[:, None] / lengths
    sums = (lengths.min() / lengths)[None]
    system = torch.cat([projections[1:] - projections[:1], sums])
    right = torch.zeros(len(rows), dtype=gram.dtype)
    right[-1] = 1
    weights[rows] = (torch.linalg.pinv(system) @ right) * lengths.min() / lengths
    return weights

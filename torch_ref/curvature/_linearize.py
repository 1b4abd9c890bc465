"""A product as a dense matrix, formed column by column once."""

from collections.abc import Callable
from typing import Any

import torch

from torch_ref.curvature import _dense


def linearize(product: Any, params: Any, *data: Any) -> Callable[[Any], Any]:
    """Multiply every unit vector, and return the product with the matrix of what comes out."""
    size = _dense.flat(params).numel()
    eye = torch.eye(size, dtype=_dense.flat(params).dtype)
    columns = [_dense.flat(_dense.in_order(product(params, _dense.cut(unit, params), *data), params)) for unit in eye]
    matrix = torch.stack(columns, 1)
    return lambda vector: _dense.cut(matrix @ _dense.flat(_dense.in_order(vector, params)), params)

"""The dense Jacobian times a vector, from either side."""

from typing import Any

from torch_ref.curvature import _dense


def jacobian_product(fun: Any, params: Any, vector: Any, *data: Any, transpose: bool = False) -> Any:
    """Form the Jacobian row by row, and multiply."""
    result, rows = _dense.jacobian(lambda p: fun(p, *data), params)
    if transpose:
        return _dense.cut(rows.T @ _dense.flat(_dense.in_order(vector, result)), params)
    return _dense.cut(rows @ _dense.flat(_dense.in_order(vector, params)), result)

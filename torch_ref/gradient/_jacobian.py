"""First and second derivatives of a function whose result is one tensor, by ``torch.func``."""

from collections.abc import Callable
from typing import Any

import torch


def jacobian(fun: Callable[..., Any], params: Any, *data: Any, mode: str = "reverse") -> Any:
    """Return ``torch.func.jacrev`` or ``jacfwd`` of the function."""
    transform = torch.func.jacrev if mode == "reverse" else torch.func.jacfwd
    return transform(fun)(params, *data)


def hessian(fun: Callable[..., Any], params: Any, *data: Any) -> Any:
    """Return ``torch.func.hessian`` of the function."""
    return torch.func.hessian(fun)(params, *data)

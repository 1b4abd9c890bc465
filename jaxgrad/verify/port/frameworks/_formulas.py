"""Torch functions whose fused derivative rules are missing or wrong, computed by their formulas.

Found by comparing first and second derivatives of 90 functions of torch 2.13 with central differences, in float64 on
the CPU: the second derivative of the fused weight norm by the direction is wrong (by a part in ten to a factor of two),
the first derivative of the hard sigmoid rounds 1/6 to float32 and has no second, and neither have distances.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["by_formula", "notes"]


def by_formula() -> Any:
    """Return a context in which torch computes these functions by their formulas."""
    from torch.overrides import TorchFunctionMode

    formulas: dict[str, Callable[..., Any]] = {
        "hardsigmoid": _hardsigmoid,
        "_weight_norm": _weight_norm,
        "cdist": _cdist,
    }

    class ByFormula(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            made = formulas.get(getattr(func, "__name__", ""), func)
            return made(*args, **(kwargs or {}))

    return ByFormula()


def notes(module: Any) -> list[str]:
    """Return what a user should know of a module whose own second derivatives in torch are wrong."""
    # both forms are private classes, told by their names: the hook of the old one, the parametrization of the new one
    normed = [
        path or "the model itself" for path, m in module.named_modules()
        if {type(one).__name__ for one in (m, *m._forward_pre_hooks.values())} & {"_WeightNorm", "WeightNorm"}
    ]  # fmt: skip
    words = "torch's fused weight norm has a wrong second derivative; judged by its formula, g v / |v|"
    return [f"{normed[0]}{' and others' if normed[1:] else ''}: {words}"] if normed else []


def _hardsigmoid(x: Any, inplace: bool = False) -> Any:
    """Return the hard sigmoid, relu6(x + 3) / 6."""
    import torch

    made = torch.nn.functional.relu6(x + 3) / 6
    return x.copy_(made) if inplace else made


def _weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    """Return g v / |v|, the norm taken over every axis but one; over all for -1."""
    axes = [i for i in range(v.ndim) if dim != i]
    return v * (g / v.norm(2, axes, keepdim=dim != -1))


def _cdist(a: Any, b: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """Return distances; the derivative at the distance 0 is 0, as torch has it."""
    import torch

    if p != 2:
        return torch.cdist(a, b, p) if compute_mode is None else torch.cdist(a, b, p, compute_mode)
    squares = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)

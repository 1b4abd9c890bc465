"""BackPACK as a rival: the gradient of every example, or its squared norm, beside one backward pass; optional."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bench._modules import losses_of, nested

__all__ = ["norms", "rows"]


def rows(module: nn.Module) -> Callable[..., Any]:
    """Return a function that gives the stacked gradients: its ``BatchGrad``."""
    from backpack import backpack, extend, extensions

    extended, extension = extend(module), extensions.BatchGrad()

    def stacked(x: Any, y: Any) -> Any:
        with backpack(extension):
            losses_of(extended, x, y).sum().backward()
        return nested(extended.named_parameters(), lambda p: p.grad_batch)

    return stacked


def norms(module: nn.Module) -> Callable[..., Any]:
    """Return a function that gives the norms of the gradients, which are not formed: its ``BatchL2Grad``."""
    from backpack import backpack, extend, extensions

    extended, extension = extend(module), extensions.BatchL2Grad()

    def lengths(x: Any, y: Any) -> Any:
        with backpack(extension):
            losses_of(extended, x, y).sum().backward()
        return sum(p.batch_l2 for p in extended.parameters()).sqrt()

    return lengths

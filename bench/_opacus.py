"""Opacus as a rival: its ghost clipping, and the stacked gradients of its hooks; optional."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bench._modules import losses_of, nested

__all__ = ["ghost", "hooks", "norms"]


def of_norms(module: nn.Module, clip_norm: float) -> Any:
    """Wrap a module so that a backward pass of a sum of losses leaves the norms of the examples."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    return GradSampleModuleFastGradientClipping(
        module, max_grad_norm=clip_norm, use_ghost_clipping=True, loss_reduction="sum"
    )


def norms(module: nn.Module) -> Callable[..., Any]:
    """Return a function that gives the norms of the gradients, which are not formed."""
    wrapped = of_norms(module, 1.0)

    def lengths(x: Any, y: Any) -> Any:
        wrapped.zero_grad()
        losses_of(wrapped, x, y).sum().backward()
        return wrapped.get_norm_sample()

    return lengths


def ghost(module: nn.Module, clip_norm: float) -> Callable[..., Any]:
    """Ghost clipping: norms from hooks, then a second backward pass."""
    wrapped = of_norms(module, clip_norm)

    def clipped(x: Any, y: Any) -> Any:
        wrapped.zero_grad()
        losses = losses_of(wrapped, x, y)
        losses.sum().backward(retain_graph=True)
        scales = (clip_norm / wrapped.get_norm_sample()).clamp(max=1.0)
        wrapped.zero_grad()
        wrapped.disable_hooks()
        (scales * losses).sum().backward()
        wrapped.enable_hooks()
        return nested(module.named_parameters(), lambda p: p.grad.clone())

    return clipped


def hooks(module: nn.Module) -> Callable[..., Any]:
    """Return a function that gives the stacked gradients, left by hooks."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(module, loss_reduction="sum")

    def stacked(x: Any, y: Any) -> Any:
        wrapped.zero_grad()
        losses_of(wrapped, x, y).sum().backward()
        return nested(module.named_parameters(), lambda p: p.grad_sample)

    return stacked

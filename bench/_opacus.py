"""Opacus as a rival: the networks as modules, its ghost clipping, and the stacked gradients of its hooks; optional."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Convolutional", "Dense", "ghost", "hooks", "installed"]


def installed() -> bool:
    """Say whether Opacus can be imported."""
    return importlib.util.find_spec("opacus") is not None


def loaded(layer: nn.Module, params: Any) -> nn.Module:
    """Give a layer its weights."""
    layer.load_state_dict(params)
    return layer.to(params["weight"].dtype)


class Dense(nn.Module):
    """A ReLU network."""

    def __init__(self, params: Any) -> None:
        """Take the weights of ``layer0``, ``layer1``, ..."""
        super().__init__()
        for name in sorted(params):
            height, width = params[name]["weight"].shape
            self.add_module(name, loaded(nn.Linear(width, height), params[name]))

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        *layers, last = self.children()
        for layer in layers:
            x = torch.relu(layer(x))
        return last(x)


class Convolutional(nn.Module):
    """Two convolutions, each with a pooling, and a dense head."""

    def __init__(self, params: Any) -> None:
        """Take the weights of ``conv0``, ``conv1`` and ``head``."""
        super().__init__()
        for name in ("conv0", "conv1"):
            after, before, *_ = params[name]["weight"].shape
            self.add_module(name, loaded(nn.Conv2d(before, after, 3, padding=1), params[name]))
        self.head = Dense(params["head"])

    def forward(self, x: Any) -> Any:
        """Return the logits of images with their channels last."""
        x = x.permute(0, 3, 1, 2)
        for layer in (self.conv0, self.conv1):
            # Opacus 1.6 misreads images whose channels come last in memory, as torch may leave them: wrong norms
            x = functional.max_pool2d(torch.relu(layer(x.contiguous())), 2)
        return self.head(x.flatten(1))


def losses_of(model: Any, x: Any, y: Any) -> Any:
    """Return the cross-entropy of every example with its one-hot label."""
    return -(y * torch.log_softmax(model(x), -1)).sum(-1)


def nested(module: nn.Module, read: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what is read of every parameter as a nested dictionary."""
    tree: dict[str, Any] = {}
    for path, parameter in module.named_parameters():
        *inner, last = path.split(".")
        place = tree
        for name in inner:
            place = place.setdefault(name, {})
        place[last] = read(parameter)
    return tree


def ghost(module: nn.Module, clip_norm: float) -> Callable[..., Any]:
    """Ghost clipping: norms from hooks, then a second backward pass."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(
        module, max_grad_norm=clip_norm, use_ghost_clipping=True, loss_reduction="sum"
    )

    def clipped(x: Any, y: Any) -> Any:
        wrapped.zero_grad()
        losses = losses_of(wrapped, x, y)
        losses.sum().backward(retain_graph=True)
        scales = (clip_norm / wrapped.get_norm_sample()).clamp(max=1.0)
        wrapped.zero_grad()
        wrapped.disable_hooks()
        (scales * losses).sum().backward()
        wrapped.enable_hooks()
        return nested(module, lambda p: p.grad.clone())

    return clipped


def hooks(module: nn.Module) -> Callable[..., Any]:
    """Return a function that gives the stacked gradients, left by hooks."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(module, loss_reduction="sum")

    def stacked(x: Any, y: Any) -> Any:
        wrapped.zero_grad()
        losses_of(wrapped, x, y).sum().backward()
        return nested(module, lambda p: p.grad_sample)

    return stacked

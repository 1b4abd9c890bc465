"""The networks of the rows as torch modules, for the rivals that work on modules."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Convolutional", "Dense", "losses_of", "nested"]


def loaded(layer: nn.Module, params: Any) -> nn.Module:
    """Give a layer its weights, in their dtype: a layer of float32 would round those that it is given in float64."""
    layer.to(params["weight"].dtype).load_state_dict(params)
    return layer


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


def nested(named: Iterable[tuple[str, Any]], read: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what is read of every named parameter as a nested dictionary."""
    tree: dict[str, Any] = {}
    for path, parameter in named:
        *inner, last = path.split(".")
        place = tree
        for name in inner:
            place = place.setdefault(name, {})
        place[last] = read(parameter)
    return tree

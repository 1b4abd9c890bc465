"""What else computes MAML: higher and TorchOpt as their users write it, a loop over the tasks; and `torch.compile`."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench._row import Contender

__all__ = ["RIVALS", "of_rival", "of_torch_compile"]


class Network(nn.Module):
    """The ReLU network, with its weights."""

    def __init__(self, params: Any) -> None:
        """Take the weights of ``layer0``, ``layer1``, ..."""
        super().__init__()
        for name in sorted(params):
            height, width = params[name]["weight"].shape
            layer = nn.Linear(width, height)
            layer.load_state_dict(params[name])
            self.add_module(name, layer)

    def forward(self, x: Any) -> Any:
        """Return the outputs."""
        *layers, last = self.children()
        for layer in layers:
            x = torch.relu(layer(x))
        return last(x)


def by_higher(params: Any, support: Any, query: Any, rate: float, num_steps: int) -> Any:
    """Return the meta-gradient by higher: the module patched, an SGD that keeps its graph."""
    import higher

    network = Network(params)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    tasks = len(query[0])
    for i in range(tasks):
        with higher.innerloop_ctx(network, optimizer, copy_initial_weights=False) as (fast, inner):
            for _ in range(num_steps):
                inner.step(((fast(support[0][i]) - support[1][i]) ** 2).mean())
            (((fast(query[0][i]) - query[1][i]) ** 2).mean() / tasks).backward()
    return _gradients(network)


def by_torchopt(params: Any, support: Any, query: Any, rate: float, num_steps: int) -> Any:
    """Return the meta-gradient by TorchOpt: its differentiable SGD, the weights set back after every task."""
    import torchopt

    network = Network(params)
    optimizer = torchopt.MetaSGD(network, lr=rate)
    start = torchopt.extract_state_dict(network, by="reference"), torchopt.extract_state_dict(optimizer)
    # the tensors that the steps replace
    named = dict(network.named_parameters())
    tasks = len(query[0])
    for i in range(tasks):
        for _ in range(num_steps):
            optimizer.step(((network(support[0][i]) - support[1][i]) ** 2).mean())
        (((network(query[0][i]) - query[1][i]) ** 2).mean() / tasks).backward()
        torchopt.recover_state_dict(network, start[0])
        torchopt.recover_state_dict(optimizer, start[1])
    return _tree({name: parameter.grad for name, parameter in named.items()})


def _gradients(network: nn.Module) -> Any:
    return _tree({name: parameter.grad for name, parameter in network.named_parameters()})


def _tree(leaves: dict[str, Any]) -> Any:
    """Return a tree like the parameters, of leaves that are named ``layer0.weight``."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        layer, kind = name.split(".")
        tree.setdefault(layer, {})[kind] = leaf
    return tree


RIVALS: dict[str, Callable[..., Any]] = {"higher": by_higher, "torchopt": by_torchopt}
"""How each library is used."""


def of_rival(name: str, *inputs: Any, rate: float, num_steps: int) -> Callable[[], Any] | None:
    """Return the meta-gradient of a rival as a function, or ``None`` where it is not installed."""
    if importlib.util.find_spec(name) is None:
        return None
    return lambda: RIVALS[name](*inputs, rate, num_steps)


def of_torch_compile(params: Any, support: Any, query: Any, *, rate: float, num_steps: int) -> Contender:
    """Return what `torch.compile` makes of MAML by torch.func, in one graph: the best that torch has.

    The weights are a plain list: `jax.tree`, which the other contenders use, would break the graph at every step.
    """
    names = sorted(params)
    flat = [params[name][kind] for name in names for kind in ("weight", "bias")]

    def loss(flat: list[Any], x: Any, y: Any) -> Any:
        for i in range(0, len(flat), 2):
            x = torch.relu(x) if i else x
            x = x @ flat[i].T + flat[i + 1]
        return ((x - y) ** 2).mean()

    def meta_loss(flat: list[Any], support: Any, query: Any) -> Any:
        def after(support: Any, query: Any) -> Any:
            fast = flat
            for _ in range(num_steps):
                slopes = torch.func.grad(loss)(fast, *support)
                fast = [w - rate * g for w, g in zip(fast, slopes, strict=True)]
            return loss(fast, *query)

        return torch.func.vmap(after)(support, query).mean()

    def gradient(flat: list[Any], support: Any, query: Any) -> Any:
        return torch.func.grad(meta_loss)(flat, support, query)

    compiled = torch.compile(gradient, fullgraph=True)

    def run() -> Any:
        leaves = iter(compiled(flat, support, query))
        return {name: {kind: next(leaves) for kind in ("weight", "bias")} for name in names}

    return Contender("torch.compile", "torch", run)

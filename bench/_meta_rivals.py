"""What else computes MAML: higher and TorchOpt as their users write it, a loop over the tasks; and `torch.compile`."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from bench import _rivals
from bench._modules import Dense, nested
from bench._row import Contender

__all__ = ["of_libraries", "of_torch_compile"]


def by_higher(params: Any, support: Any, query: Any, rate: float, num_steps: int) -> Any:
    """Return the meta-gradient by higher: the module patched, an SGD that keeps its graph."""
    import higher

    network = Dense(params)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    tasks = len(query[0])
    for i in range(tasks):
        with higher.innerloop_ctx(network, optimizer, copy_initial_weights=False) as (fast, inner):
            for _ in range(num_steps):
                inner.step(((fast(support[0][i]) - support[1][i]) ** 2).mean())
            (((fast(query[0][i]) - query[1][i]) ** 2).mean() / tasks).backward()
    return nested(network.named_parameters(), lambda p: p.grad)


def by_torchopt(params: Any, support: Any, query: Any, rate: float, num_steps: int) -> Any:
    """Return the meta-gradient by TorchOpt: its differentiable SGD, the weights set back after every task."""
    import torchopt

    network = Dense(params)
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
    return nested(named.items(), lambda p: p.grad)


RIVALS: dict[str, Callable[..., Any]] = {"higher": by_higher, "torchopt": by_torchopt}
"""How each library is used."""


def of_libraries(*inputs: Any, rate: float, num_steps: int) -> list[Contender]:
    """Return the meta-gradient of each library."""
    return [
        _rivals.of_library(name, name, lambda own=own: functools.partial(own, *inputs, rate, num_steps))
        for name, own in RIVALS.items()
    ]


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

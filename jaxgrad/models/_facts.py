"""What the search for a mapping knows of either side: names, shapes, classes, and the order of execution."""

import contextlib
import copy
import dataclasses
from typing import Any

import numpy as np

__all__ = ["COUNT", "STATISTICS", "JaxFacts", "Shape", "Shapes", "TorchFacts", "kind_of", "kinds_of", "torch_facts"]

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


@dataclasses.dataclass(frozen=True)
class TorchFacts:
    """The tensors of a torch module."""

    shapes: Shapes
    """Every parameter, tied names included, and every buffer that may be a weight, in the order of definition."""
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    """The class of every module by path: torch's own where it is derived from one."""
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    """The further names of tied parameters, each with the first."""
    order: dict[str, int] = dataclasses.field(default_factory=dict)
    """When each module first ran, where that is known."""
    loose: frozenset[str] = frozenset()
    """Buffers: they need no counterpart, but may have one."""
    transposed: dict[str, bool] = dataclasses.field(default_factory=dict)
    """For transposed convolutions, whether the JAX layer was made with ``transpose_kernel=True``, if the user said."""


@dataclasses.dataclass(frozen=True)
class JaxFacts:
    """The leaves of a JAX model."""

    shapes: Shapes
    configs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """The settings of the modules that are known, by path, with the class under ``kind``."""
    order: dict[str, int] = dataclasses.field(default_factory=dict)
    """When each module, or leaf, was first used, where that is known."""
    loose: frozenset[str] = frozenset()
    """Leaves that need no counterpart, but may have one."""


def torch_facts(module: Any) -> TorchFacts:
    """Return the facts of a torch module, without those that a run would show."""
    first: dict[int, str] = {}
    named = list(module.named_parameters(remove_duplicate=False))
    aliases = {name: first[id(p)] for name, p in named if first.setdefault(id(p), name) != name}
    buffers = {n: b for n, b in module.named_buffers() if b.is_floating_point() and not n.endswith(STATISTICS)}
    shapes = {name: tuple(p.shape) for name, p in [*named, *buffers.items()]}
    place = {name: i for i, name in enumerate(module.state_dict())}
    ordered = dict(sorted(shapes.items(), key=lambda item: place.get(item[0], len(place))))
    return TorchFacts(ordered, kinds_of(module), aliases, loose=frozenset(buffers))


STATISTICS = ("running_mean", "running_var")
"""What torch calls the running statistics of a norm."""

COUNT = "num_batches_tracked"
"""What torch calls the number of batches that a norm has seen, which is no weight and has no counterpart."""


def kinds_of(module: Any) -> dict[str, str]:
    """Return the class of every module by path."""
    return {name: kind_of(part) for name, part in module.named_modules()}


def kind_of(module: Any) -> str:
    """Return the name of torch's own layer that a module is or is derived from, or else of its class.

    A class of the user's that is no such layer may go by the name of one: ``Conv1D`` of GPT-2 is a linear layer. What
    it computes tells: ``x @ weight`` is ``own Linear, inputs first``, and ``x @ weight.T`` is ``own Linear``.
    """
    from torch import nn

    for base in type(module).__mro__:
        if base.__module__.startswith("torch.nn.modules") and base is not nn.Module:
            return base.__name__
    weight = getattr(module, "weight", None)
    if isinstance(weight, nn.Parameter) and weight.ndim == 2 and not list(module.children()):
        with contextlib.suppress(Exception):
            # whatever the code of a user's layer raises on an input that it was not made for
            return _linear_kind(module) or _named(module)
    return _named(module)


def _named(module: Any) -> str:
    """Return the name of a class that is none of torch's."""
    from torch import nn

    name = type(module).__name__
    return f"own {name}" if hasattr(nn, name) or name.startswith("Conv") else name


LINEAR_BY_VALUE = 2.0**-20
"""How close a layer's output lies to a product in float32 that it is: 16 units of rounding."""


def _linear_kind(module: Any) -> str:
    """Say whether a layer multiplies by its matrix, and from which side, by running it on three rows."""
    import torch

    layer = copy.deepcopy(module).eval().double()
    with torch.no_grad():
        weight = layer.weight
        for turned, name in ((weight, "own Linear, inputs first"), (weight.T, "own Linear")):
            generator = np.random.default_rng(0)
            x = torch.from_numpy(generator.normal(size=(1, 3, turned.shape[0])))
            with contextlib.suppress(Exception):
                slope = layer(x) - layer(torch.zeros_like(x))
                if slope.shape == (1, 3, turned.shape[1]):
                    want = x @ turned
                    if torch.linalg.norm(slope - want) <= LINEAR_BY_VALUE * torch.linalg.norm(want):
                        return name
    return ""

"""A torch model and a JAX model bound together: the record that every stage of a comparison takes, and none writes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import flatten, unflatten
from jaxgrad.verify.port.frameworks._batch import to_int32
from jaxgrad.verify.port.frameworks._jax_model import JaxModel, cast
from jaxgrad.verify.port.frameworks._lift_jax import lifted
from jaxgrad.verify.port.frameworks._protocols import Adapt, Batch, TorchModel
from jaxgrad.verify.port.frameworks._recorded import CallOutline
from jaxgrad.verify.port.mapping import _search

__all__ = ["Islands", "ModelPair", "PairOptions", "TorchHalf"]


NOTHING = _search.Mapping((), (), ())
"""The mapping of a pair that was not mapped yet."""


@dataclasses.dataclass(frozen=True)
class PairOptions:
    """What the user asked of a comparison, beside the models."""

    weights: str = "torch"
    """``"torch"`` where the port is given torch's weights, ``"own"`` where its own are judged."""
    mode: str = "eval"
    """``"eval"`` or ``"train"``."""
    optimizer: tuple[Any, Any] | None = None
    """How torch's optimizer is made, and the optax transformation."""
    clip: tuple[Any, Any] | None = None
    """What clips gradients in a step, on either side."""
    own: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    """The user's own functions for a quantity, on either side."""


@dataclasses.dataclass(frozen=True)
class Islands:
    """What is computed in float32 whatever is given, and how the float64 stage takes it."""

    data: bool = False
    """Whether torch computes on weights or inputs in float32: then JAX may too, and both are lifted."""
    known: Mapping[Any, np.ndarray] = dataclasses.field(default_factory=dict)
    """Float64 values of constants that JAX holds in float32."""
    notes: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    """The lines at which JAX computes on weights or inputs in float32, and torch nowhere does."""
    calls: tuple[CallOutline, ...] = ()
    """Every call of a JAX layer, as the trace in which the islands were looked for has seen it."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TorchHalf:
    """A torch model with its batch; a dump of torch needs no more."""

    torch: TorchModel
    batch: Batch
    options: PairOptions = PairOptions()

    @property
    def trains(self) -> bool:
        """Whether torch trains any parameter."""
        return any(name not in self.torch.frozen for name in self.torch.params)

    @property
    def size(self) -> int:
        """How many numbers the model and its batch hold."""
        return sum(x.size for x in (*self.torch.params.values(), *self.batch))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelPair(TorchHalf):
    """Both models, and what carries weights, inputs and gradients from one to the other."""

    jax: JaxModel
    jax_loss: Any
    adapt: Adapt
    """Gives the batch as the JAX model takes it."""
    mapping: _search.Mapping = NOTHING
    images: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Torch layers that take a flattened image: its channels, height and width."""
    flattened: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """Those of them whose kernels were turned for an image with its channels last."""
    islands: Islands | None = None
    """What either side computes in float32 itself, once it was looked for."""

    @property
    def prepared(self) -> "ModelPair":
        """The pair as the quantities take it; one that was put together by hand is taken as it is."""
        return self

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of torch's parameters."""
        return {name: p.shape for name, p in self.torch.params.items()}

    @functools.cached_property
    def jax_paths(self) -> list[str]:
        """The paths of JAX's parameters."""
        return list(flatten(self.jax.params))

    def weights(self, dtype: str) -> tuple[Any, Any]:
        """Return JAX's parameters and other collections in a dtype: torch's, carried across, or the port's own."""
        params, rest = self.jax.params, self.jax.rest
        if self.options.weights == "torch":
            made = self.mapping.fill({**self.torch.params, **self.torch.buffers}, [e.jax for e in self.mapping.entries])
            own = flatten(params)
            params = unflatten(params, {path: made.get(path, leaf) for path, leaf in own.items()})
            others = flatten(rest)
            rest = unflatten(rest, {path: made.get(path, leaf) for path, leaf in others.items()})
        return cast(params, dtype), cast(rest, dtype)

    def data(self, dtype: str) -> tuple[Any, ...]:
        """Return the batch as JAX arrays, in torch's layout."""
        return tuple(to_int32(cast(x, dtype)) for x in self.batch)

    def jax_loss_of(self, rest: Any) -> Callable[..., Any]:
        """Return ``loss(params, *batch)`` on the JAX side; the batch comes in torch's layout."""

        def evaluate(params: Any, *batch: Any) -> Any:
            inputs, targets = self.torch.parts.split(self.adapt(*batch))
            output, _ = self.jax.apply(params, rest, *inputs)
            return self.jax_loss(output, *targets)

        return evaluate

    def wide(self, fun: Callable[..., Any], dtype: str = "float64") -> Callable[..., Any]:
        """Return a function of JAX's with its float32 islands in float64, where that is the precision."""
        if dtype != "float64":
            return fun
        islands = self.islands or Islands()
        return lifted(fun, data=islands.data, known=islands.known)

    def pull_back(self, gradient: Any) -> dict[str, Any]:
        """Carry a tree like JAX's parameters to torch's names and shapes; frozen tensors are left out."""
        found = self.mapping.pull_back(flatten(gradient), self.shapes)
        return {name: leaf for name, leaf in found.items() if name not in self.torch.frozen}

    def push(self, tensors: dict[str, Any], like: Any) -> Any:
        """Carry a direction by torch names to a tree like JAX's parameters; leaves that nothing fills stay still."""
        made = self.mapping.fill(tensors, self.jax_paths)
        still = flatten(like)
        return unflatten(like, {path: made.get(path, np.zeros(leaf.shape)) for path, leaf in still.items()})

    def jax_path(self, key: str) -> str:
        """Return the JAX leaves that a torch tensor fills, for messages."""
        return ", ".join(e.jax for e in self.mapping.entries if key in e.torch)

    def untied(self) -> dict[str, list[str]]:
        """Return torch tensors that several layers share, where each of these has a leaf of its own in JAX."""
        apart: dict[str, list[str]] = {}
        for entry in self.mapping.entries:
            whole = all(link.start is None for link in entry.links)
            if len(entry.torch) == 1 and whole and entry.torch[0] in self.torch.aliases.values():
                apart.setdefault(entry.torch[0], []).append(entry.jax)
        return {key: paths for key, paths in apart.items() if len(paths) > 1}

"""What the stages of a comparison ask of torch's side: a module that runs, or what a run on disk holds of one."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, Self

import numpy as np

from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["Adapt", "Batch", "FirstRun", "RunningTorch", "Shape", "TorchModel"]

Batch = tuple[np.ndarray, ...]
"""The arrays of a batch in torch's layout, inputs first."""


Shape = tuple[int, ...]

Adapt = Callable[..., tuple[Any, ...]]
"""Gives the arrays of a batch, in torch's layout, as the JAX model takes them."""


@dataclasses.dataclass(frozen=True)
class FirstRun:
    """What the mapping needs to know of how a model runs."""

    order: Mapping[str, int]
    """The place of every layer in the order in which they first ran."""
    images: Mapping[str, Shape]
    """The linear layers whose input is a flattened image, with its channels, height and width."""


class TorchModel(Protocol):
    """A torch model as data: its tensors, its layers, and what one run of it showed."""

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters by name; of tied ones the one that stands for all."""

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """The buffers by name."""

    @property
    def frozen(self) -> Collection[str]:
        """The parameters that are not trained."""

    @property
    def aliases(self) -> dict[str, str]:
        """Names of tied parameters, each with the name that stands for both."""

    @property
    def outline(self) -> dict[str, Shape]:
        """The shape of every tensor, tied names included, in the order of ``state_dict``."""

    @property
    def kinds(self) -> dict[str, str]:
        """The class of every module by path."""

    @property
    def parts(self) -> Parts:
        """How a batch is taken apart."""

    @property
    def train(self) -> bool:
        """Whether it is compared in training mode."""

    @property
    def perturbed(self) -> Collection[str]:
        """Constant tensors that were moved a little."""

    @property
    def settled(self) -> Mapping[str, np.ndarray]:
        """Tensors that were made in float32, as they are in float64."""

    def thaw(self, names: Collection[str]) -> Self:
        """Return the model with those parameters trained, where it trains none."""

    def first_run(self, batch: Batch) -> FirstRun:
        """Return in which order the layers ran, and what they saw."""

    def value(self, batch: Batch) -> float:
        """Return the loss in float64."""

    def constants(self, names: Collection[str], batch: Batch) -> set[str]:
        """Return those of the names that are no weights."""

    def islands(self, batch: Batch) -> tuple[dict[str, str], list[np.ndarray]]:
        """Return where it computes in float32 whatever it is given, and the tables and numbers it makes of none."""

    def remarks(self) -> list[str]:
        """Return what a user should know of the module's own derivatives in torch."""

    def tables(self, taken: set[str]) -> dict[str, np.ndarray]:
        """Return what it holds in float32 beside the tensors that the other side takes, in float64."""

    def with_tables(self, tables: Mapping[str, Any]) -> Self:
        """Return the model with tables that are other numbers in float64."""


class RunningTorch(TorchModel, Protocol):
    """A torch model that runs; its tensors and modules are torch's own."""

    @property
    def plain_loss(self) -> Callable[..., Any]:
        """The loss of an output and targets; what it computes in float32 itself stays so."""

    def at(self, dtype: str) -> Any:
        """Return the module in a dtype."""

    def tensors(self, dtype: str, jitter: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return fresh parameters and buffers in a dtype."""

    def batch(self, batch: Batch, dtype: str, jitter: int | None = None) -> tuple[Any, ...]:
        """Return the batch as tensors."""

    def loss(self, dtype: str, buffers: dict[str, Any], detach_buffers: bool = True) -> Callable[..., Any]:
        """Return ``loss(params, *batch)``."""

    def plain_call(self, dtype: str, params: dict[str, Any], buffers: dict[str, Any], *inputs: Any) -> Any:
        """Apply the module to tensors; what it computes in float32 itself stays so."""

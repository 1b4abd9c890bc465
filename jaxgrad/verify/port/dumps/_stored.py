"""The torch half of a pair as a run on disk holds it: for an environment in which torch is not installed."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np

from jaxgrad.verify._errors import PairError
from jaxgrad.verify.port.frameworks._parts import Parts
from jaxgrad.verify.port.frameworks._protocols import Batch, FirstRun, Shape
from jaxgrad.verify.port.frameworks._torch_module import TorchSide

__all__ = ["StoredTorch", "facts"]

WEIGHTS, BUFFERS, BATCH = "weights", "buffers", "batch"
"""The groups of a run that hold what the models are given."""

Groups = dict[str, dict[str, np.ndarray]]


def facts(side: TorchSide, batch: Batch) -> tuple[Groups, dict[str, Any]]:
    """Return what the JAX side needs to know of a torch model: arrays, and plain data."""
    run = side.first_run(batch)
    groups = {WEIGHTS: dict(side.params), BUFFERS: dict(side.buffers)}
    groups[BATCH] = {str(i): array for i, array in enumerate(batch)}
    plain = {
        "aliases": side.aliases,
        "frozen": sorted(side.frozen),
        "outline": {name: list(shape) for name, shape in side.outline.items()},
        "kinds": side.kinds,
        "order": dict(run.order),
        "images": {path: list(image) for path, image in run.images.items()},
        "value": side.value(batch),
        "parts": dataclasses.asdict(side.parts),
        "constants": sorted(side.constants(side.outline, batch)),
        "train": side.train,
        "casts": side.islands(batch)[0],
        "remarks": side.remarks(),
    }
    return groups, plain


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTorch:
    """What `TorchSide` knows of a module, read from a run; it can compute nothing."""

    params: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    batch: Batch
    plain: dict[str, Any]
    """What `facts` noted beside the arrays."""
    perturbed: tuple[str, ...] = ()
    settled: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, groups: Groups, plain: dict[str, Any]) -> Self:
        """Read the groups and the plain data that `facts` made.

        Raises:
            PairError: If the run is not one of torch's.
        """
        if WEIGHTS not in groups or not plain:
            message = "the run holds no torch weights: make it with `jaxgrad dump torch`"
            raise PairError(message)
        return cls(groups[WEIGHTS], groups.get(BUFFERS, {}), tuple(groups[BATCH].values()), plain)

    @property
    def aliases(self) -> dict[str, str]:
        """Names of tied parameters, each with the name that stands for both."""
        return self.plain["aliases"]

    @property
    def frozen(self) -> frozenset[str]:
        """The parameters that are not trained."""
        return frozenset(self.plain["frozen"])

    def thaw(self, names: Collection[str]) -> Self:
        """Return the same run, which has no derivatives by parameters that torch holds frozen."""
        del names
        return self

    @property
    def train(self) -> bool:
        """Whether the run was made in training mode."""
        return self.plain["train"]

    @property
    def outline(self) -> dict[str, Shape]:
        """The shape of every tensor, tied names included."""
        return {name: tuple(shape) for name, shape in self.plain["outline"].items()}

    @property
    def kinds(self) -> dict[str, str]:
        """The class of every module by path."""
        return self.plain["kinds"]

    @property
    def parts(self) -> Parts:
        """How the batch is taken apart."""
        parts = self.plain.get("parts", {})
        return Parts(parts.get("targets", 1), tuple(parts.get("names", ())))

    def first_run(self, batch: Batch) -> FirstRun:
        """Return in which order torch's layers ran, and what they saw."""
        del batch
        images = {path: tuple(image) for path, image in self.plain["images"].items()}
        return FirstRun(self.plain["order"], images)

    def islands(self, batch: Batch) -> tuple[dict[str, str], list[np.ndarray]]:
        """Return where torch computed in float32 whatever it was given."""
        del batch
        return self.plain.get("casts", {}), []

    def remarks(self) -> list[str]:
        """Return what was noted of the module's own derivatives in torch."""
        return list(self.plain.get("remarks", []))

    def tables(self, taken: set[str]) -> dict[str, np.ndarray]:
        """Return no tables: what torch computed with its own is on disk already."""
        del taken
        return {}

    def with_tables(self, tables: Mapping[str, np.ndarray]) -> Self:
        """Return the same run, for it has no tables."""
        del tables
        return self

    def constants(self, names: Collection[str], batch: Batch) -> set[str]:
        """Return those of the names that are no weights."""
        del batch
        return set(self.plain.get("constants", ())) & set(names)

    def value(self, batch: Batch) -> float:
        """Return torch's loss in float64."""
        del batch
        return self.plain["value"]

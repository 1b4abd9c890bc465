"""Which arrays of a batch go into the models, under which names, and which are the targets of the loss."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["TARGETS", "Parts", "parts_of"]

TARGETS = ("target", "targets", "label", "labels", "y")
"""Names that mark the target in a batch with names."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """How a batch is taken apart."""

    targets: int = 1
    """How many arrays at the end of the batch are targets of the loss."""
    names: tuple[str, ...] = ()
    """The names under which the models take their inputs; empty where they take them by position."""

    def split(self, batch: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the inputs and the targets."""
        first = len(batch) - min(self.targets, len(batch) - 1)
        return batch[:first], batch[first:]

    def arguments(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the inputs as a model is called with them."""
        return ((), dict(zip(self.names, inputs, strict=True))) if self.names else (inputs, {})


def parts_of(batch: Any, losses: tuple[Any, ...]) -> tuple[Any, Parts]:
    """Return a batch as a tuple, and how it is taken apart.

    A batch is a tuple, or a dict by the names of the models' arguments; the target is last, or is called so.
    """
    count = max((_targets(loss) for loss in losses if loss is not None), default=1)
    if not isinstance(batch, Mapping):
        whole = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
        return whole, Parts(count)
    last = [name for name in batch if name in TARGETS] or (list(batch)[-count:] if count and len(batch) > 1 else [])
    names = tuple(name for name in batch if name not in last)
    return tuple(batch[name] for name in (*names, *last)), Parts(len(last), names)


def _targets(loss: Any) -> int:
    """Return how many targets a loss takes: its arguments that have no default or a target's name, less the output."""
    try:
        given = inspect.signature(getattr(loss, "forward", loss)).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in given):
        return 1
    asked = [p for p in given if p.kind in kinds and (p.default is inspect.Parameter.empty or p.name in TARGETS)]
    return max(len(asked) - 1, 0)

"""What a check is asked: the quantities, the precisions, and how much may differ."""

import dataclasses
from collections.abc import Sequence

from jaxgrad.verify.port.quantities._names import ELSEWHERE, FIRST, INSIDE, SECOND, quantity_names, steps_of
from jaxgrad.verify.port.quantities._verdicts import Progress

__all__ = ["Question"]


@dataclasses.dataclass(frozen=True)
class Question:
    """The arguments of a check, read once."""

    names: tuple[str, ...]
    """The quantities, in the order in which they are reported."""
    dtypes: tuple[str, ...]
    """The precisions; ``float64`` is the first."""
    tolerance: float
    noise: float
    tell: Progress

    @classmethod
    def of(
        cls,
        what: Sequence[str] | str | None,
        dtypes: Sequence[str],
        tolerance: float,
        noise: float,
        progress: Progress | None,
    ) -> "Question":
        """Read the arguments of a check.

        Raises:
            ValueError: If a name is no quantity.
        """
        lower = [dtype for dtype in dtypes if dtype != "float64"]
        return cls(tuple(quantity_names(what)), ("float64", *lower), tolerance, noise, progress or _silent)

    @property
    def numbers(self) -> list[str]:
        """The quantities that either side computes by itself."""
        return [name for name in self.names if name in (*FIRST, *SECOND)]

    @property
    def steps(self) -> list[str]:
        """The training steps."""
        return [name for name in self.names if name.startswith("step")]

    @property
    def at_one_point(self) -> bool:
        """Whether derivatives of the whole batch are taken at the given weights alone."""
        elsewhere = any(name in ELSEWHERE for name in self.names)
        return not elsewhere and all(steps_of(name) == 1 for name in self.steps)

    @property
    def inside(self) -> list[str]:
        """What is compared layer by layer."""
        return [name for name in self.names if name in INSIDE]

    @property
    def of_parameters(self) -> list[str]:
        """What a model without parameters does not have."""
        return [name for name in self.names if name in SECOND or name.startswith("step")]


def _silent(line: str, part: float) -> None:
    """Tell nobody."""
    del line, part

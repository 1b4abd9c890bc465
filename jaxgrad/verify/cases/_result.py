"""One line of the report: what was compared, how far apart it lies, and the verdict."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """The result of one quantity or criterion of a case."""

    case: str
    """The case's id."""
    title: str
    """What the case computes."""
    quantity: str
    """What was compared or measured."""
    verdict: Literal["agree", "differ"]
    """``differ`` also where the case raised an error."""
    error_f64: float | None = None
    """Relative L2 error of the worst leaf in float64, against torch and the closed form; ``None`` where no trees
    were compared."""
    noise_f32: float | None = None
    """Error of the worst leaf in float32, in multiples of torch's own float32 error."""
    leaf: str = ""
    """The leaf that decided: the first that failed, otherwise the worst in float64."""
    measured: str = ""
    """A criterion's figure, in words."""
    reason: str = ""
    """Why the verdict is ``differ``, in a line."""
    first_call_s: float | None = None
    """Seconds of our first float32 call, compilation included; of a criterion's whole measurement."""
    second_call_s: float | None = None
    """Seconds of our second float32 call."""
    torch_s: float | None = None
    """Seconds of the reference's float32 call."""
    traceback: str = ""
    """The traceback of an error in the case."""

    @property
    def agrees(self) -> bool:
        """Whether the verdict is ``agree``."""
        return self.verdict == "agree"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in their order, as JSON can hold them: an infinity becomes ``None``.

        The reason of such a row says what is wrong, since an infinite error always differs.
        """
        fields = dataclasses.asdict(self)
        return {name: None if _is_infinite(value) else value for name, value in fields.items()}


def _is_infinite(value: Any) -> bool:
    """Say whether a field holds a number that JSON has no word for."""
    return isinstance(value, float) and not math.isfinite(value)

"""Nash's bargaining: the equation of fairness with alpha 1, on the matrix divided by its norm."""

from typing import Any

from torch_ref.multi_loss._fairgrad import fairgrad


def nash_mtl(gram: Any, *, max_norm: float | None = 1.0, unit: float = 1.0) -> Any:
    """Solve, and shorten the vector."""
    weights = fairgrad(gram / gram.norm(), alpha=1.0)
    length = unit * (weights @ gram @ weights).sqrt()
    return weights if max_norm is None or length <= max_norm else weights * max_norm / length

"""Errors at a working precision in units of torch's own: one rule, for every quantity of every check."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.judge._leaf import relative
from jaxgrad.verify.judge._tolerances import NOISE_MULTIPLE, NOISE_MULTIPLE_OF_A_NUMBER

__all__ = ["allowed_multiple", "multiples"]


def multiples(
    got: Mapping[str, Any], references: Sequence[Mapping[str, Any]], exact: Mapping[str, Any], dtype: Any, floor: float
) -> dict[str, float]:
    r"""Return the error of every leaf in multiples of torch's own error there.

    .. math:: \frac{e(\text{got})}{\max(e(\text{torch}),\; \mathrm{median}\, e(\text{torch}),\; \varepsilon)}

    torch's own error counts as no less than a unit of rounding, and no less than its usual one: a leaf may be right
    by luck. The usual one is the lower median over the leaves, which one leaf that cancels cannot raise. Where torch's
    own answer is not finite, it excuses nothing.

    Args:
        got: Our answer at the working precision, by path.
        references: torch's answers there: one, or several from weights and inputs that lie a unit of rounding away,
            of which the worst counts: where a rectifier switches there, its switching is rounding, and no finding.
        exact: torch's answer in float64.
        dtype: The working precision.
        floor: What a leaf is measured against at least, a norm.
    """
    unit = float(jnp.finfo(dtype).eps)
    own: dict[str, float] = {}
    for path in exact:
        errors = [relative(reference[path], exact[path], floor) for reference in references if path in reference]
        own[path] = max((error for error in errors if np.isfinite(error)), default=0.0)
    ordered = sorted(own.values())
    usual = ordered[(len(ordered) - 1) // 2] if ordered else 0.0
    return {
        path: relative(leaf, exact[path], floor) / max(own[path], usual, unit)
        for path, leaf in got.items()
        if path in exact
    }


def allowed_multiple(count: int, limit: float = NOISE_MULTIPLE) -> float:
    """Return the largest multiple of a leaf of so many numbers: of a single one, torch's error may be small by luck."""
    return limit * (NOISE_MULTIPLE_OF_A_NUMBER / NOISE_MULTIPLE if count == 1 else 1.0)

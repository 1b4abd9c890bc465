"""The two-stage verdict on a quantity: float64 for the definition, then a working precision for the rounding."""

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad.verify._pair import _align
from jaxgrad.verify._pair._jax_side import precision
from jaxgrad.verify._pair._measure import Leaf, floor_of, measure, relative
from jaxgrad.verify._pair._quantities_jax import JaxQuantities
from jaxgrad.verify._pair._quantities_torch import TorchQuantities
from jaxgrad.verify._pair._report import Result
from jaxgrad.verify._pair._what import FIRST, SECOND

__all__ = ["Progress", "add_noise", "judge_quantities", "judge_result", "lay_out"]

Progress = Callable[[str, float], None]
Sides = dict[str, tuple[TorchQuantities, JaxQuantities]]
Named = dict[str, np.ndarray]
JITTERS = 8
"""How often torch is asked again, with weights and inputs a unit of rounding away, before JAX is called noisy."""


def judge_quantities(
    bound: Any, sides: Sides, names: list[str], tolerance: float, limit: float, tell: Progress
) -> list[Result]:
    """Compute and judge every quantity at every precision; ``float64`` is the first."""
    results: list[Result] = []
    scale = 0.0

    @functools.cache
    def nearby(dtype: str) -> list[TorchQuantities]:
        return [TorchQuantities(bound, dtype, jitter=seed) for seed in range(JITTERS)]

    groups = [[n for n in names if n in FIRST], *([n] for n in names if n in SECOND)]
    for count, group in enumerate(filter(None, groups)):
        tell(", ".join(group), 0.7 * count / len(groups))
        begun = time.perf_counter()
        key = "basic" if group[0] in FIRST else group[0]
        computed, failure = _compute(sides, key)
        spent = (time.perf_counter() - begun) / len(group)
        for name in group:
            if failure:
                results.append(Result(name, [], "failed", failure, spent))
                continue
            want, got = (side["float64"] for side in _pick(computed, name, key))
            hint = scale if name in SECOND else 0.0
            leaves = measure(got, want, lambda n: bound.jax_path(n) or n, tolerance=tolerance, hint=hint)
            if name == "gradient":
                scale = 1e-3 * float(np.sqrt(sum(np.sum(g**2) for g in want.values())))
            for dtype in (d for d in sides if d != "float64"):
                theirs, ours = (side[dtype] for side in _pick(computed, name, key))
                add_noise(leaves, want, (theirs, ours), dtype, hint)
                if any(not leaf.noise_by.get(dtype, 0.0) <= limit for leaf in leaves):
                    again = [_arrays(_part(other.get(key), name, key)) for other in nearby(dtype)]
                    add_noise(leaves, want, (theirs, ours), dtype, hint, again)
            results.append(judge_result(name, leaves, tolerance, limit, spent))
    return results


def _compute(sides: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Compute a quantity on both sides; a failure is told and not raised, for it is a finding about a model.

    The precisions go side by side, since XLA compiles on one core.
    """
    with ThreadPoolExecutor() as pool:
        ours = {dtype: pool.submit(_attempt, "JAX", dtype, side[1], key) for dtype, side in sides.items()}
        theirs = {dtype: _attempt("torch", dtype, side[0], key) for dtype, side in sides.items()}
    found = {dtype: (theirs[dtype], ours[dtype].result()) for dtype in sides}
    failures = [side for both in found.values() for side in both if isinstance(side, str)]
    return ({}, failures[0]) if failures else (found, "")


def _attempt(framework: str, dtype: str, side: Any, key: str) -> Any:
    """Return a quantity of one side, or in words why there is none."""
    try:
        with precision():
            return side.get(key)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{framework} fails in {dtype}: {type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _pick(computed: dict[str, Any], name: str, key: str) -> tuple[dict[str, Named], dict[str, Named]]:
    """Return one quantity's arrays in float64 by precision: torch's, and JAX's laid out as torch has them."""
    theirs = {d: _arrays(_part(pair[0], name, key)) for d, pair in computed.items()}
    ours = {d: _arrays(_part(pair[1], name, key)) for d, pair in computed.items()}
    return theirs, {d: lay_out(x, theirs[d]) if name == "value" else x for d, x in ours.items()}


def _part(quantity: Any, name: str, key: str) -> Any:
    """Return one of the quantities that are computed together."""
    return quantity[name] if key == "basic" else quantity


def _arrays(named: Any) -> Named:
    """Return arrays or tensors as NumPy's float64."""
    return {
        n: np.asarray(x.detach().double().cpu() if hasattr(x, "detach") else x, np.float64) for n, x in named.items()
    }


def lay_out(got: Named, want: Named) -> Named:
    """Lay JAX's outputs out as torch has them, where only the order of the axes differs."""
    laid = dict(got)
    for name, array in got.items():
        axes = _align.layout_of(want[name], array) if name in want else None
        laid[name] = array if axes is None else array.transpose(np.argsort(axes))
    return laid


def add_noise(
    leaves: list[Leaf], exact: Named, pair: tuple[Named, Named], dtype: str, hint: float, again: Sequence[Named] = ()
) -> None:
    """Measure every leaf's error at a precision in multiples of torch's own.

    torch's own error counts as no less than a unit of rounding, and no less than its usual error over the leaves of
    the quantity: a small leaf may be right by luck. ``again`` holds what torch computes from weights and inputs that
    are one unit of rounding away: where a rectifier switches there, its switching is rounding, and no finding.
    """
    want, got = pair
    floor, unit = floor_of(exact, hint), float(jnp.finfo(dtype).eps)
    theirs = {n: max(relative(x[n], exact[n], floor) for x in (want, *again)) for n in exact if n in want}
    finite = [e for e in theirs.values() if np.isfinite(e)]
    usual = float(np.sqrt(np.mean(np.square(finite)))) if finite else 0.0
    for leaf in leaves:
        if leaf.torch not in theirs or leaf.torch not in got:
            continue
        error = relative(got[leaf.torch], exact[leaf.torch], floor)
        allowed = max(theirs[leaf.torch], usual, unit)
        leaf.noise_by[dtype] = error / allowed if np.isfinite(allowed) else 0.0


def judge_result(name: str, leaves: list[Leaf], tolerance: float, limit: float, seconds: float) -> Result:
    """Give the verdict of a quantity."""
    result = Result(name, leaves, "agree", "", seconds)
    if any(not leaf.error <= tolerance for leaf in leaves):
        result.verdict = "differ"
    elif result.noise is not None and not result.noise <= limit:
        result.verdict = "noisy"
        result.reason = (
            f"the same in float64, but {result.noise:.0f} times torch's own rounding error at lower precision"
        )
    return result

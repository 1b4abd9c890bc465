"""The two-stage verdict on a quantity: float64 for the definition, then a working precision for the rounding."""

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge import allowed_multiple, floor_of, multiples
from jaxgrad.verify.judge._arrays import to_float64
from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.frameworks._outputs import renamed
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._measure import measure
from jaxgrad.verify.port.quantities._names import FIRST, SECOND
from jaxgrad.verify.port.quantities._torch import TorchQuantities
from jaxgrad.verify.report._records import Leaf, Result

__all__ = [
    "Progress",
    "Sides",
    "add_noise",
    "judge_quantities",
    "judge_result",
    "outputs_laid_out",
    "real_numbers",
]

Progress = Callable[[str, float], None]
Sides = dict[str, tuple[TorchQuantities, JaxQuantities]]
Named = dict[str, np.ndarray]
JITTERS = 8
"""How often torch is asked again, with weights and inputs a unit of rounding away, before JAX is called noisy."""


def judge_quantities(
    bound: ModelPair, sides: Sides, names: list[str], tolerance: float, limit: float, tell: Progress
) -> list[Result]:
    """Compute and judge every quantity at every precision; ``float64`` is the first."""
    judge = _Judge(bound, sides, tolerance, limit)
    groups = [g for g in ([n for n in names if n in FIRST], *([n] for n in names if n in SECOND)) if g]
    keys = ["basic" if group[0] in FIRST else group[0] for group in groups]
    results: list[Result] = []
    with contextlib.closing(_compute(sides, keys)) as computed:
        for count, (group, key) in enumerate(zip(groups, keys, strict=True)):
            tell(", ".join(group), 0.7 * count / len(groups))
            begun = time.perf_counter()
            found, failure = next(computed)
            spent = (time.perf_counter() - begun) / len(group)
            results += [
                Result(name, [], "failed", failure, spent) if failure else judge(name, key, found, spent)
                for name in group
            ]
    return results


class _Judge:
    """Judges one quantity after the other; what the gradient's size is tells which digits of the others are noise."""

    def __init__(self, bound: ModelPair, sides: Sides, tolerance: float, limit: float) -> None:
        self.bound, self.lower = bound, [d for d in sides if d != "float64"]
        self.tolerance, self.limit, self.scale = tolerance, limit, 0.0
        self.jittered: dict[str, list[TorchQuantities]] = {}

    def __call__(self, name: str, key: str, computed: dict[str, Any], spent: float) -> Result:
        """Give the verdict on a quantity, one of those that were computed together under ``key``."""
        theirs, ours = _pick(computed, name, key)
        hint = self.scale if name in SECOND else 0.0
        # whole numbers are apart: their size says nothing about the digits of the others, and they do not round
        whole = {n for n, x in {**ours["float64"], **theirs["float64"]}.items() if x.dtype.kind in "biu"}
        leaves = []
        for names in ({*ours["float64"], *theirs["float64"]} - whole, whole):
            got, expected = ({n: x for n, x in side["float64"].items() if n in names} for side in (ours, theirs))
            leaves += measure(got, expected, lambda n: self.bound.jax_path(n) or n, tolerance=self.tolerance, hint=hint)
        want = {n: x for n, x in theirs["float64"].items() if n not in whole}
        if name == "gradient":
            self.scale = floor_of(want.values())
        for dtype in self.lower:
            both = theirs[dtype], ours[dtype]
            add_noise(leaves, want, both, dtype, hint)
            if any(not leaf.noise_by.get(dtype, 0.0) <= allowed_multiple(leaf.size, self.limit) for leaf in leaves):
                nearby = [_arrays(_part(other.get(key), name, key)) for other in self._nearby(dtype)]
                again = [{n: real_numbers(x) for n, x in named.items()} for named in nearby]
                add_noise(leaves, want, both, dtype, hint, again)
        return judge_result(name, leaves, self.tolerance, self.limit, spent)

    def _nearby(self, dtype: str) -> list[TorchQuantities]:
        """Return torch with weights and inputs a unit of rounding away, a few times."""
        if dtype not in self.jittered:
            self.jittered[dtype] = [TorchQuantities(self.bound, dtype, jitter=seed) for seed in range(JITTERS)]
        return self.jittered[dtype]


def _compute(sides: Sides, keys: list[str]) -> Generator[tuple[dict[str, Any], str]]:
    """Compute quantities on both sides; a failure is told and not raised, for it is a finding about a model.

    XLA compiles on one core: a thread for each precision goes ahead through JAX's quantities while torch computes here.
    """
    with contextlib.ExitStack() as stack:
        ours: dict[str, list[Future[Any]]] = {}
        for dtype, side in sides.items():
            pool = ThreadPoolExecutor(1)
            stack.callback(pool.shutdown, cancel_futures=True)
            ours[dtype] = [pool.submit(_attempt, "JAX", dtype, side[1], key) for key in keys]
        for i, key in enumerate(keys):
            theirs = {dtype: _attempt("torch", dtype, side[0], key) for dtype, side in sides.items()}
            found = {dtype: (theirs[dtype], ours[dtype][i].result()) for dtype in sides}
            failures = [side for both in found.values() for side in both if isinstance(side, str)]
            yield ({}, failures[0]) if failures else (found, "")


def _attempt(framework: str, dtype: str, side: Any, key: str) -> Any:
    """Return a quantity of one side, or in words why there is none."""
    try:
        with precision():
            return side.get(key)
    except Exception as error:
        return f"{framework} fails in {dtype}: {first_line(error)}"[:300]


def _pick(computed: dict[str, Any], name: str, key: str) -> tuple[dict[str, Named], dict[str, Named]]:
    """Return one quantity's arrays in float64 by precision: torch's, and JAX's laid out as torch has them."""
    theirs = {d: _arrays(_part(pair[0], name, key)) for d, pair in computed.items()}
    ours = {d: _arrays(_part(pair[1], name, key)) for d, pair in computed.items()}
    if name == "value":
        ours = {d: outputs_laid_out(x, theirs[d]) for d, x in ours.items()}
    real = [{d: {n: real_numbers(x) for n, x in named.items()} for d, named in side.items()} for side in (theirs, ours)]
    return real[0], real[1]


def outputs_laid_out(got: Named, want: Named) -> Named:
    """Give JAX's outputs torch's names and the order of its axes."""
    outputs = renamed(*({n: x for n, x in side.items() if n != "loss"} for side in (got, want)))
    return lay_out({"loss": got["loss"], **outputs}, want)


def real_numbers(array: np.ndarray) -> np.ndarray:
    """Return complex numbers as pairs of real ones."""
    return np.stack([array.real, array.imag], axis=-1) if array.dtype.kind == "c" else array


def _part(quantity: Any, name: str, key: str) -> Any:
    """Return one of the quantities that are computed together."""
    return quantity[name] if key == "basic" else quantity


def _arrays(named: Any) -> Named:
    """Return arrays or tensors as NumPy's float64; whole numbers and complex ones stay what they are."""
    return {n: to_float64(x) for n, x in named.items()}


def lay_out(got: Named, want: Named) -> Named:
    """Lay JAX's outputs out as torch has them, where only the order of the axes differs."""
    laid = dict(got)
    for name, array in got.items():
        axes = layout_of(want[name], array) if name in want else None
        laid[name] = array if axes is None else array.transpose(np.argsort(axes))
    return laid


def add_noise(
    leaves: list[Leaf], exact: Named, pair: tuple[Named, Named], dtype: str, hint: float, again: Sequence[Named] = ()
) -> None:
    """Note every leaf's error at a precision, in multiples of torch's own as the judge counts them.

    ``again`` holds what torch computes from weights and inputs that are one unit of rounding away.
    """
    want, got = pair
    found = multiples(got, [want, *again], exact, dtype, floor_of(exact.values(), hint))
    for leaf in leaves:
        if leaf.torch in found and leaf.torch in want:
            leaf.noise_by[dtype] = found[leaf.torch]


def judge_result(name: str, leaves: list[Leaf], tolerance: float, limit: float, seconds: float) -> Result:
    """Give the verdict of a quantity."""
    result = Result(name, leaves, "agree", "", seconds)
    if any(not leaf.error <= tolerance for leaf in leaves):
        result.verdict = "differ"
    elif any(leaf.noise is not None and not leaf.noise <= allowed_multiple(leaf.size, limit) for leaf in leaves):
        result.verdict = "noisy"
        result.reason = (
            f"the same in float64, but {result.noise:.0f} times torch's own rounding error at lower precision"
        )
    return result

"""A side of a pair as a run on disk, and the comparison of two runs without either framework's models."""

from typing import Any

import numpy as np

from jaxgrad.verify import _judge
from jaxgrad.verify._doctor import doctor
from jaxgrad.verify._pair._flattening import settle_flattening
from jaxgrad.verify._pair._jax_side import precision
from jaxgrad.verify._pair._measure import Leaf, measure
from jaxgrad.verify._pair._quantities_jax import JaxQuantities
from jaxgrad.verify._pair._quantities_torch import TorchQuantities
from jaxgrad.verify._pair._report import Report, Result
from jaxgrad.verify._pair._verdicts import add_noise, judge_result, lay_out
from jaxgrad.verify._pair._what import FIRST, SECOND

__all__ = ["compare_runs", "compute"]

Groups = dict[str, dict[str, np.ndarray]]


def compute(
    bound: Any, side: str, what: list[str] | None = None, dtypes: tuple[str, ...] = ("float64", "float32")
) -> tuple[Groups, dict[str, Any]]:
    """Return one side's quantities by torch name, and what is to be said about the run.

    Raises:
        ValueError: If a name is no quantity that can be dumped.
    """
    names = what or [*FIRST, "hvp"]
    wrong = [n for n in names if n not in (*FIRST, *SECOND)]
    if wrong:
        message = f"{', '.join(wrong)} cannot be dumped; choose among {', '.join((*FIRST, *SECOND))}"
        raise ValueError(message)
    groups: Groups = {}
    with precision():
        settle_flattening(bound)
        for dtype in dtypes:
            source: Any = TorchQuantities(bound, dtype) if side == "torch" else JaxQuantities(bound, dtype)
            for name in names:
                found = source.get("basic")[name] if name in FIRST else source.get(name)
                groups[f"{name}@{dtype}"] = {n: _array(x) for n, x in found.items()}
    paths = {n: bound.jax_path(n) for n in bound.torch.params}
    return groups, {"side": side, "paths": paths, "doctor": doctor()}


def _array(x: Any) -> np.ndarray:
    """Return an array of either framework in NumPy."""
    if type(x).__module__.split(".")[0] == "torch":
        return x.detach().double().cpu().numpy()
    return np.asarray(x, np.float64)


def compare_runs(
    ours: tuple[Groups, dict[str, Any]], theirs: tuple[Groups, dict[str, Any]], tolerance: float = _judge.DEFINITION_F64
) -> Report:
    """Compare two runs, whichever frameworks they come from; the second is the reference.

    Raises:
        ValueError: If they share no quantity in float64.
    """
    (got, about), (want, other) = ours, theirs
    paths = {**other.get("paths", {}), **about.get("paths", {})}
    names = [g.split("@")[0] for g in want if g.endswith("@float64") and g in got]
    if not names:
        message = (
            f"the runs share no quantity in float64: {', '.join(got) or 'none'} against {', '.join(want) or 'none'}"
        )
        raise ValueError(message)
    results: list[Result] = []
    for name in names:
        exact = want[f"{name}@float64"]
        leaves: list[Leaf] = measure(
            lay_out(got[f"{name}@float64"], exact), exact, lambda n: paths.get(n, n), tolerance=tolerance
        )
        for group in want:
            quantity, dtype = group.split("@")
            if quantity == name and dtype != "float64" and group in got:
                add_noise(leaves, exact, (want[group], lay_out(got[group], exact)), dtype, 0.0)
        results.append(judge_result(name, leaves, tolerance, _judge.NOISE_MULTIPLE, 0.0))
    versions = other.get("doctor", {}).get("versions", {})
    meta = {"versions": versions, "notes": [], "backend": "", "dtypes": ["float64"], "tolerance_f64": tolerance,
            "parameters": 0, "batch": [], "mode": "dumped", "seconds": 0.0}  # fmt: skip
    return Report(results, [], None, [], meta)

"""A side of a pair as a run on disk, and the comparison of two runs without either framework's models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxgrad.verify._environment import doctor
from jaxgrad.verify._errors import require
from jaxgrad.verify.judge._arrays import to_float64
from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE
from jaxgrad.verify.port._about import now
from jaxgrad.verify.port._bind import bind, with_defaults
from jaxgrad.verify.port._divergences import first_of_results
from jaxgrad.verify.port.dumps._stored import StoredTorch, facts
from jaxgrad.verify.port.frameworks import _losses
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.frameworks._parts import parts_of
from jaxgrad.verify.port.frameworks._torch_module import TorchSide, unwrapped
from jaxgrad.verify.port.frameworks._validate import check_batch, check_mode, check_options
from jaxgrad.verify.port.mapping._model_pair import PairOptions, TorchHalf
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._measure import measure
from jaxgrad.verify.port.quantities._names import FIRST, SECOND, quantity_names
from jaxgrad.verify.port.quantities._torch import TorchQuantities
from jaxgrad.verify.port.quantities._verdicts import add_noise, judge_result, outputs_laid_out, real_numbers
from jaxgrad.verify.report._records import Leaf, Report, Result

__all__ = ["compare_runs", "dump_jax", "dump_torch", "dumped_names"]

Groups = dict[str, dict[str, np.ndarray]]


def dump_torch(spec: dict[str, Any], what: list[str], dtypes: Sequence[str]) -> tuple[Groups, dict[str, Any]]:
    """Return torch's quantities, weights and batch, without a JAX model.

    Raises:
        PairError: If the spec lacks something, or the batch does not fit.
    """
    require("torch")
    given = with_defaults(**spec)
    check_options(given["weights"], given["mode"])
    loss = _losses.one(given["loss"], 0)
    whole, parts = parts_of(given["batch"], (loss,))
    batch = check_batch(whole)
    check_mode(unwrapped(given["torch"]), given["mode"])
    side = TorchSide.of(given["torch"], loss, train=given["mode"] == "train", parts=parts, kwargs=given["torch_kwargs"])
    if given["perturb_constants"] and given["weights"] == "torch":
        side = side.perturb_constants()
    side.first_run(batch)
    half = TorchHalf(torch=side, batch=batch, options=PairOptions(own=given["own"] or {}))
    with precision():
        groups = _quantities(lambda dtype: TorchQuantities(half, dtype), _there(half, what), dtypes)
        arrays, plain = facts(side, batch)
    return groups | arrays, {"side": "torch", "torch": plain, "doctor": doctor()}


def dump_jax(
    spec: dict[str, Any], run: tuple[Groups, dict[str, Any]], what: list[str], dtypes: Sequence[str]
) -> tuple[Groups, dict[str, Any]]:
    """Return JAX's quantities with the weights and the batch of a torch run; torch is not needed.

    Raises:
        PairError: If the spec or the run lacks something, or the batch does not fit.
    """
    side = StoredTorch.of(run[0], run[1].get("torch", {}))
    given = {**with_defaults(**spec), "mode": "train" if side.train else "eval"}
    pair = bind(side, given["jax"], _losses.one(given["loss"], 1), side.batch, given)
    with precision():
        prepared = pair.prepared
        groups = _quantities(lambda dtype: JaxQuantities(prepared, dtype), _there(prepared, what), dtypes)
    left = {"unused": prepared.mapping.unused, "unfilled": prepared.mapping.unfilled}
    paths = {n: prepared.jax_path(n) for n in side.params}
    return groups, {"side": "jax", "paths": paths, "left": left, "doctor": doctor()}


def dumped_names(what: str | None) -> list[str]:
    """Return the quantities that a dump takes.

    Raises:
        ValueError: If a name is no quantity that can be dumped.
    """
    names = quantity_names(what) if what else [*FIRST, "hvp"]
    wrong = [n for n in names if n not in (*FIRST, *SECOND)]
    if wrong and what != "all":
        message = f"{', '.join(wrong)} cannot be dumped; choose among {', '.join((*FIRST, *SECOND))}"
        raise ValueError(message)
    return [n for n in names if n not in wrong]


def _there(half: TorchHalf, names: list[str]) -> list[str]:
    """Return the quantities that there are: a model that trains no parameter has none of second order."""
    return [name for name in names if half.trains or name not in SECOND]


def _quantities(make: Callable[[str], Any], names: list[str], dtypes: Sequence[str]) -> Groups:
    """Return one side's quantities at every precision, by torch name."""
    groups: Groups = {}
    for dtype in dtypes:
        source = make(dtype)
        for name in names:
            found = source.get("basic")[name] if name in FIRST else source.get(name)
            groups[f"{name}@{dtype}"] = {n: real_numbers(to_float64(x)) for n, x in found.items()}
    return groups


def compare_runs(
    ours: tuple[Groups, dict[str, Any]], theirs: tuple[Groups, dict[str, Any]], tolerance: float = DEFINITION_F64
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
        exact, lay = want[f"{name}@float64"], outputs_laid_out if name == "value" else _as_it_is
        leaves: list[Leaf] = measure(
            lay(got[f"{name}@float64"], exact), exact, lambda n: paths.get(n, n), tolerance=tolerance
        )
        for group in (g for g in want if "@" in g):
            quantity, dtype = group.split("@")
            if quantity == name and dtype != "float64" and group in got:
                add_noise(leaves, exact, (want[group], lay(got[group], exact)), dtype, 0.0)
        results.append(judge_result(name, leaves, tolerance, NOISE_MULTIPLE, 0.0))
    for group in sorted({g for g in {*got, *want} if g.endswith("@float64")} - {f"{n}@float64" for n in names}):
        side = (about if group in got else other).get("side", "one")
        reason = f"only the {side} run holds it: dump both with the same --what"
        results.append(Result(group.split("@")[0], [], "failed", reason))
    left = [*about.get("left", {}).get("unused", []), *about.get("left", {}).get("unfilled", [])]
    if left:
        lost = [Leaf(name, "", np.inf, note="without a counterpart") for name in left]
        results.append(Result("mapping", lost, "differ", f"{len(left)} weights without a counterpart: {left[0]}"))
    versions = other.get("doctor", {}).get("versions", {})
    meta = {"command": "diff", "date": now(), "versions": versions, "notes": [], "backend": "",
            "dtypes": ["float64"], "tolerance_f64": tolerance,
            "parameters": 0, "batch": [], "mode": "dumped", "seconds": 0.0}  # fmt: skip
    return Report(results, [], first_of_results(results, tolerance), [], meta)


def _as_it_is(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave what the mapping has carried to torch's layout."""
    del want
    return got

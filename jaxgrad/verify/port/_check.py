"""The check: every quantity in float64 for the definition, then at working precision for the rounding."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE
from jaxgrad.verify.port._about import about
from jaxgrad.verify.port.diagnosis import _diagnose
from jaxgrad.verify.port.frameworks._islands import settle
from jaxgrad.verify.port.frameworks._jax_model import precision
from jaxgrad.verify.port.mapping._flatten_order import settle_flattening
from jaxgrad.verify.port.quantities import _training_steps
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._names import FIRST, INSIDE, SECOND, names_of, steps_of
from jaxgrad.verify.port.quantities._torch import TorchQuantities
from jaxgrad.verify.port.quantities._verdicts import Progress, judge_quantities, judge_result
from jaxgrad.verify.port.tracing import _first_divergence
from jaxgrad.verify.port.tracing._first_divergence import Passes
from jaxgrad.verify.report._records import Cause, Divergence, LayerError, Leaf, Report, Result

__all__ = ["check", "first_of_results"]


NO_STEP = "an optimizer was given, and no step was compared: ask for what=[..., 'step']"
TIED = "tied in torch, leaves of their own in JAX: the first training step moves them apart"


def check(
    bound: Any,
    what: Sequence[str] | str | None = None,
    *,
    dtypes: Sequence[str] = ("float64", "float32"),
    tolerance: float = DEFINITION_F64,
    noise: float = NOISE_MULTIPLE,
    progress: Progress | None = None,
) -> Report:
    """Compare both models, and find where and why they differ.

    Args:
        bound: The pair.
        what: Names out of `QUANTITIES`, ``"all"``, or ``None`` for the usual ones.
        dtypes: ``"float64"`` decides the definition and is always run; every other one is judged for its rounding.
        tolerance: The largest relative error of a leaf in float64.
        noise: The largest error at another precision, in multiples of torch's own.
        progress: Called with a line and the part that is done, from 0 to 1.

    Returns:
        The report.

    Raises:
        ValueError: If a name is no quantity.
    """
    names = names_of(what)
    lower = [d for d in dtypes if d != "float64"]
    tell = progress or _silent
    begun = time.perf_counter()
    with precision():
        # a flattened image is mapped one way or the other; the values decide
        settle(bound)
        settle_flattening(bound)
        sides = {d: (TorchQuantities(bound, d), JaxQuantities(bound, d)) for d in ("float64", *lower)}
        wanted = [n for n in names if n in (*FIRST, *SECOND)]
        absent = [n for n in names if n in SECOND or n.startswith("step")] if not bound.torch.params else []
        names, wanted = ([n for n in given if n not in absent] for given in (names, wanted))
        results = judge_quantities(bound, sides, wanted, tolerance, noise, tell)
        results += [Result(n, [], "agree", "the torch model has no parameters") for n in absent]
        results += _unmapped(bound)
        results += _steps(bound, sides["float64"][1], [n for n in names if n.startswith("step")], tolerance, tell)
        differs = any(r.verdict in ("differ", "failed") for r in results)
        passes: Passes | None = None
        rows: list[LayerError] = []
        if differs or any(n in INSIDE for n in names):
            tell("layer by layer", 0.8)
            value = next((r for r in results if r.name == "value"), None)
            passes, rows, failure = _watch(bound, unread=value is None or value.verdict != "agree")
            results += _inside(names, passes, rows, tolerance, failure)
        differs = any(r.verdict in ("differ", "failed") for r in results)
        found = _divergences(bound, passes, rows, results, tolerance) if differs else []
        tell("causes", 0.95)
        report = Report(results, rows, found[0] if found else None, [], {}, found)
        if report.differs:
            report.causes = _causes(bound, passes, results, found, tolerance)
    order = {name: i for i, name in enumerate(names)}
    report.results.sort(key=lambda r: order.get(r.name, len(order)))
    remarks = [NO_STEP] if bound.options["optimizer"] and not any(n.startswith("step") for n in names) else []
    report.meta = {"remarks": remarks} | _meta(bound, tolerance, noise, dtypes, time.perf_counter() - begun)
    tell("done", 1.0)
    return report


def _causes(
    bound: Any, passes: Passes | None, results: list[Result], found: list[Divergence], tolerance: float
) -> list[Cause]:
    """Explain what differs; an explanation that fails is told, and what was found stands."""
    try:
        return _diagnose.explain(bound, passes, results, found, tolerance)
    except Exception as error:
        text = f"the search for a cause failed ({first_line(error)}); what was found stands."
        return [Cause("unknown", text, "Please report it.", found[0].path if found else "")]


def _unmapped(bound: Any) -> list[Result]:
    """Judge the mapping: a weight without a counterpart is a difference, whatever the batch shows of it."""
    mapping, side = bound.mapping, bound.torch
    # a buffer that is a table of JAX's own has its counterpart in the code
    tables = {key for key in side.settled if key in side.buffers or key in side.frozen}
    leaves = [Leaf(key, "", np.inf, note="no JAX leaf takes it") for key in mapping.unused if key not in tables]
    leaves += [Leaf("", path, np.inf, note="no torch key fills it") for path in mapping.unfilled]
    names = ", ".join(leaf.torch or leaf.jax for leaf in leaves[:3])
    found = [Result("mapping", leaves, "differ", f"{len(leaves)} weights without a counterpart: {names}")]
    apart = [Leaf(key, ", ".join(paths), np.inf, note=TIED) for key, paths in bound.untied().items()]
    return found * bool(leaves) + [Result("tied weights", apart, "differ", TIED)] * bool(apart)


def _silent(line: str, part: float) -> None:
    """Tell nobody."""
    del line, part


def _steps(bound: Any, ours: JaxQuantities, names: list[str], tolerance: float, tell: Progress) -> list[Result]:
    """Compare training steps; a single step is the first of several."""
    results = []
    longest = max((steps_of(name) for name in names), default=0)
    if longest:
        tell(f"{longest} steps", 0.7)
        begun = time.perf_counter()
        try:
            leaves = _training_steps.compare_steps(bound, ours, longest, tolerance)
        except Exception as error:
            reason = first_line(error)[:300]
            return [Result(name, [], "failed", reason) for name in names]
        spent = (time.perf_counter() - begun) / len(names)
    for name in names:
        taken = [leaf for leaf in leaves if int(leaf.torch.split(":")[0].split()[1]) <= steps_of(name)]
        result = judge_result(name, taken, tolerance, np.inf, spent)
        stage = _training_steps.first_stage(taken, tolerance)
        result.reason = f"first differs at {stage}" if stage else ""
        results.append(result)
    return results


def _watch(bound: Any, *, unread: bool) -> tuple[Passes | None, list[LayerError], str]:
    """Run both models layer by layer."""
    try:
        passes = _first_divergence.watch(bound)
    except Exception as error:
        return None, [], f"cannot be watched layer by layer: {first_line(error)}"
    return passes, _first_divergence.layers(passes, unread=unread) if passes is not None else [], ""


def _inside(
    names: list[str], passes: Passes | None, rows: list[LayerError], tolerance: float, failure: str
) -> list[Result]:
    """Judge activations and their gradients."""
    results = []
    for name in (n for n in names if n in INSIDE):
        if passes is None:
            verdict = "failed" if failure else "agree"
            note = failure or "a plain function shows no layers: give the module itself to compare them"
            results.append(Result(name, [], verdict, note))
            continue
        forward = name == "activations"
        leaves = [Leaf(r.torch or "(output)", r.jax or "(output)", r.forward if forward else r.backward) for r in rows]
        results.append(judge_result(name, leaves, tolerance, np.inf, 0.0))
    return results


def _divergences(
    bound: Any, passes: Passes | None, rows: list[LayerError], results: list[Result], tolerance: float
) -> list[Divergence]:
    """Return the divergences, the weightiest first: of the passes where they show any, else that of the quantities."""
    found = _first_divergence.find_all(bound, passes, rows, tolerance) if passes is not None else []
    first = first_of_results(results, tolerance)
    return found or ([first] if first is not None else [])


def first_of_results(results: list[Result], tolerance: float) -> Divergence | None:
    """Return the first divergence of the quantities in their order."""
    for result in results:
        if result.verdict != "differ":
            continue
        wrong = [leaf for leaf in result.leaves if not leaf.error <= tolerance]
        # the first of a step's stages; of a derivative the leaf that is furthest off
        leaf = wrong[0] if result.name.startswith("step") else max(wrong, key=lambda x: x.error)
        if result.name.startswith("step"):
            path, stage = _training_steps.stage_of(leaf.torch), "step"
        else:
            path = "loss" if leaf.torch == "loss" else leaf.torch.rpartition(".")[0] or leaf.torch
            stage = "forward" if result.name == "value" else "backward"
        return Divergence(path, stage, result.name, leaf.jax, leaf.error)
    return None


def _meta(bound: Any, tolerance: float, noise: float, dtypes: Sequence[str], seconds: float) -> dict[str, Any]:
    """Return what a reader of the report needs to know about the run."""
    return {
        **about(bound),
        "dtypes": ["float64", *(d for d in dtypes if d != "float64")],
        "tolerance_f64": tolerance,
        "noise_limit": noise,
        "islands": list(bound.islands.notes),
        "seconds": seconds,
    }

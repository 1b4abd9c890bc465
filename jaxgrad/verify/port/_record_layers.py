"""Both models recorded layer by layer, and the verdict on what their layers return."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.port._question import Question
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._verdicts import judge_result
from jaxgrad.verify.port.tracing import _first_divergence
from jaxgrad.verify.port.tracing._first_divergence import Passes
from jaxgrad.verify.report._records import LayerError, Leaf, Result

__all__ = ["Recording", "judge_layers", "record"]


@dataclasses.dataclass(frozen=True)
class Recording:
    """What both models did inside, laid side by side; empty where nobody asked, or nothing shows."""

    passes: Passes | None = None
    layers: Sequence[LayerError] = ()
    failure: str = ""
    """Why there are none; empty where a model shows no layers."""


def record(pair: ModelPair, asked: Question, results: Sequence[Result], ours: JaxQuantities | None = None) -> Recording:
    """Run both models layer by layer, where that is asked for or something differs.

    Args:
        pair: The pair.
        asked: What is asked.
        results: What was judged so far.
        ours: JAX's quantities in float64, whose program of the gradient may have recorded its layers; otherwise a
            program of its own does.
    """
    if not asked.inside and not differs(results):
        return Recording()
    asked.tell("layer by layer", 0.8)
    value = next((r for r in results if r.name == "value"), None)
    unread = value is None or value.verdict != "agree"
    try:
        passes = _first_divergence.watch(pair, recorded=None if ours is None else ours.recorded)
        return Recording(passes, _rows(passes, asked, unread, differs(results)) if passes is not None else ())
    except Exception as error:
        return Recording(failure=f"cannot be watched layer by layer: {first_line(error)}")


def _rows(passes: Passes, asked: Question, unread: bool, wrong: bool) -> list[LayerError]:
    """Return every layer's errors; its own are worked out where anything differs, inside or in the results."""
    rows = _first_divergence.layers(passes, unread=unread)
    wrong = wrong or any(not (row.forward <= asked.tolerance and row.backward <= asked.tolerance) for row in rows)
    return _first_divergence.with_own(passes, rows, unread=unread) if wrong else rows


def differs(results: Sequence[Result]) -> bool:
    """Say whether there is something to find out: a quantity that differs, or that one side cannot compute."""
    return any(r.verdict in ("differ", "failed") for r in results)


def judge_layers(recording: Recording, asked: Question) -> list[Result]:
    """Judge activations and their gradients."""
    results = []
    for name in asked.inside:
        if recording.passes is None:
            verdict = "failed" if recording.failure else "agree"
            note = recording.failure or "a plain function shows no layers: give the module itself to compare them"
            results.append(Result(name, [], verdict, note))
            continue
        leaves = [
            Leaf(row.torch or "(output)", row.jax or "(output)", row.forward if name == "activations" else row.backward)
            for row in recording.layers
        ]
        results.append(judge_result(name, leaves, asked.tolerance, np.inf, 0.0))
    return results

"""The public functions of the house, and who is exempt from which rule, with the reason."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAMILIES = ("gradient", "shift", "nth", "curvature", "meta", "inr", "per_example", "multi_loss")

FACED = ("gradient", "shift", "nth", "curvature", "meta", "inr", "per_example", "multi_loss", "models")
"""The families whose functions hand out what a loss returns beside its value, and whose examples run when pasted.

`models` takes no loss; its examples are run.
"""

OF_POINTS = ("nth", "inr")
"""Of these, the families that take a function of points, any output of which is differentiated: there is no aux."""

EAGER: dict[str, str] = {
    "curvature.gauss_newton": "builds an optax transformation",
    "curvature.operator": "returns an object, whose products are jitted",
    "nth.register_rule": "enters a rule, computes nothing",
    "per_example.explain": "returns a plan, not arrays",
    "shift.explain": "returns a plan, not arrays",
    "shift.ivon": "builds the functions of an optimizer",
    "per_example.dp_aggregate": "builds an optax transformation",
    "curvature.over_batches": "a loop of the host over an iterator; its step is compiled",
    "curvature.stack_batches": "moves the rows of a data set on the host, once",
    "curvature.weighted_loss": "returns a function",
    **dict.fromkeys(
        (
            "multi_loss.cr_mogm",
            "multi_loss.dwa",
            "multi_loss.excess_mtl",
            "multi_loss.famo",
            "multi_loss.gradnorm",
            "multi_loss.gradvac",
            "multi_loss.imtl_l",
            "multi_loss.modo",
            "multi_loss.pcd",
            "multi_loss.sdmgrad",
            "multi_loss.uncertainty",
        ),
        "builds a pair of functions, init and update, as optax does",
    ),
    "multi_loss.draw_conflicts": "draws a picture",
    "shift.sam_transform": "builds an optax transformation",
}
"""Public names that are not jitted functions of arrays."""

NO_TWIN: dict[str, str] = {
    "curvature.operator": "an object around a product, which has the twin",
    "nth.register_rule": "torch has no Taylor mode to register with",
    "per_example.explain": "a plan of our engine",
    "shift.explain": "a plan of our engine",
    "shift.low_rank_shifts": "reads the matrices off a traced loss; torch is given the sums, and has their moments",
    "per_example.dp_aggregate": "clipped_sum has the twin; its tests check the noise",
    "curvature.stack_batches": "moves rows, computes nothing",
    "multi_loss.draw_conflicts": "draws what conflicts has computed",
    "shift.sam_transform": "sam_gradient has the twin; its tests compare with that",
}
"""Public names without a torch twin."""

NO_ROW: dict[str, str] = {
    "curvature.operator": "adds nothing to the product that it holds",
    "curvature.over_batches": "a contender in the row of over_dataset",
    "curvature.stack_batches": "moves rows, computes nothing",
    "curvature.weighted_loss": "adds up the losses of over_dataset, whose row has it",
    "multi_loss.draw_conflicts": "draws a picture",
    "nth.registry": "register_rule computes nothing",
    "per_example.explain": "traces, computes nothing",
    "shift.explain": "traces, computes nothing",
    "per_example.dp_aggregate": "clipped_sum and a normal draw",
}
"""Algorithms (by file) without a benchmark row."""


def public_functions() -> dict[str, Callable[..., Any]]:
    """Return every public function of the families by its name, ``curvature.hvp``."""
    found = {}
    for family in FAMILIES:
        module = importlib.import_module(f"jaxgrad.{family}")
        found |= {f"{family}.{name}": getattr(module, name) for name in module.__all__}
    return found


def stem(function: Callable[..., Any]) -> str:
    """Return the name of the file that defines a function, without its underscore."""
    return Path(inspect.getfile(inspect.unwrap(function))).stem.removeprefix("_")


def is_function(thing: Any) -> bool:
    """Say whether a public name is a function (and not a record that one returns)."""
    return callable(thing) and not inspect.isclass(thing)

"""Rates of dropout and stochastic depth, which evaluation does not show: seen in training, or read from the layers."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from jaxgrad.models._names import words
from jaxgrad.verify._errors import first_line
from jaxgrad.verify.port.frameworks._contexts import framework_default
from jaxgrad.verify.port.frameworks._drops import Drop, drops_of_jax, drops_of_torch
from jaxgrad.verify.port.frameworks._layer_settings import jax_configs, torch_configs
from jaxgrad.verify.port.frameworks._random_numbers import POINTS
from jaxgrad.verify.port.frameworks._training_mode import SWITCHES
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.report._audit import Setting

__all__ = ["compare_drops", "rates"]


RATES = ("p", "rate", "drop_prob", "drop_rate", "dropout_rate", "dropout", "prob", "drop_path")
"""What layers that drop call the part that they drop."""

FORMS = {"examples": "whole examples", "entries": "single entries", "axes": "entries with others along an axis"}


def rates(bound: ModelPair) -> tuple[list[Setting], list[str]]:
    """Compare what both sides drop in training.

    Returns:
        The settings that differ, and what a reader should know of how they were found.
    """
    theirs, note = _attempt(lambda: drops_of_torch(bound.torch, bound.batch), torch_configs(bound.torch.module))  # type: ignore[attr-defined, arg-type]
    configs = jax_configs(bound.jax)
    if not theirs and not _may_drop(bound, configs):
        return [], []
    ours, other = _attempt(lambda: _of_jax(bound), configs)
    notes = [f"{side} could not be run in training, and its rates of dropout are read from its layers: {text}"
             for side, text in (("torch", note), ("JAX", other)) if text]  # fmt: skip
    return compare_drops(theirs, ours), notes


def _of_jax(bound: ModelPair) -> list[Drop]:
    """Return what the port drops."""
    with framework_default():
        inputs, _ = bound.torch.parts.split(bound.adapt(*bound.data("float32")))
        return drops_of_jax(bound.jax, inputs)


def _attempt(see: Callable[[], list[Drop]], layers: dict[str, dict[str, Any]]) -> tuple[list[Drop], str]:
    """See what a side drops; one that cannot be run in training is read."""
    try:
        return see(), ""
    except Exception as error:  # whatever a user's model raises in a mode that nobody asked it for
        read = _read(layers)
        return read, first_line(error) if read else ""


def _read(layers: dict[str, dict[str, Any]]) -> list[Drop]:
    """Return the rate of every layer that says it."""
    found = {}
    for path, settings in layers.items():
        rate = next((settings[name] for name in RATES if isinstance(settings.get(name), int | float)), 0.0)
        if any(word in settings["kind"].lower() for word in ("drop", "stochasticdepth", "attention")) and rate:
            found[path] = float(rate)
    # a model that takes the rate as an option, and is called after it, does not drop itself
    return [Drop(p, rate) for p, rate in found.items() if not any(q != p and q.startswith(p) for q in found)]


def _may_drop(bound: ModelPair, layers: dict[str, dict[str, Any]]) -> bool:
    """Say whether a port may drop something: it knows training from evaluation, or has a layer with a rate."""
    switches = {*SWITCHES} & {*bound.jax.kwargs}
    return bool(switches or _read(layers) or any({*SWITCHES} & {*settings} for settings in layers.values()))


def compare_drops(theirs: Sequence[Drop], ours: Sequence[Drop]) -> list[Setting]:
    """Compare the places at which both sides drop something, in the order of execution.

    Where their numbers differ, a place goes with one of the same name and rate, or of the same name, in the order; what
    is left over is told. It is harmless where all rates occur on both sides, since a model may drop what another packs,
    and where the port drops nothing, which its author sees; a port that drops where torch does not trains otherwise.
    """
    pairs = list(zip(theirs, ours, strict=True)) if len(theirs) == len(ours) else _aligned(theirs, ours)
    found = [setting for a, b in pairs for setting in _pair(a, b)]
    if len(theirs) == len(ours):
        return found
    same = not ours or _rates(theirs) == _rates(ours)
    told = [
        f"{len(drops)} place{'' if len(drops) == 1 else 's'}{': ' if drops else ''}{', '.join(_rates(drops))}"
        for drops in (theirs, ours)
    ]
    which = "JAX" if len(ours) < len(theirs) else "torch"
    effect = f"{which} drops less in training: add what is missing; evaluation does not show it"
    if not theirs:
        effect = "torch drops nothing in training: write the rate 0 in JAX; evaluation does not show it"
    first, second = (_place(drops[0]) if drops else "" for drops in (theirs, ours))
    return [*found, Setting(first, second, "dropout rates", told[0], told[1], effect, harmless=same)]


def _place(drop: Drop) -> str:
    """Return the path of a place; one outside of the layers is the model's own."""
    return drop.path or "(model)"


def _pair(a: Drop, b: Drop) -> list[Setting]:
    """Compare two places that correspond."""
    if abs(a.rate - b.rate) > 2 / POINTS:
        effect = f"training drops another part, evaluation does not show it: write {a.rate:.4g} in JAX"
        return [Setting(_place(a), _place(b), "dropout rate", f"{a.rate:.4g}", f"{b.rate:.4g}", effect)]
    if a.form != b.form and "examples" in (a.form, b.form) and a.form and b.form:
        effect = "training drops them otherwise, evaluation does not show it: draw a mask of the shape that torch draws"
        return [Setting(_place(a), _place(b), "what dropout drops", FORMS[a.form], FORMS[b.form], effect)]
    return []


def _aligned(theirs: Sequence[Drop], ours: Sequence[Drop]) -> list[tuple[Drop, Drop]]:
    """Return the places whose names are the same on both sides, in the order of execution."""
    names = [[words(drop.path) or ("",) for drop in drops] for drops in (theirs, ours)]
    blocks = difflib.SequenceMatcher(None, names[0], names[1], autojunk=False).get_matching_blocks()
    return [(theirs[block.a + i], ours[block.b + i]) for block in blocks for i in range(block.size)]


def _rates(drops: Sequence[Drop]) -> list[str]:
    """Return the rates that occur."""
    return [f"{rate:.4g}" for rate in sorted({round(drop.rate, 4) for drop in drops})]

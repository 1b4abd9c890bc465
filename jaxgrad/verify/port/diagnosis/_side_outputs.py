"""Outputs beside the one that the loss takes: labels, indices, masks, spectra; no layer and no gradient shows them."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import to_float64
from jaxgrad.verify.port.diagnosis._between_layers import between
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import gather
from jaxgrad.verify.port.diagnosis._known_functions import same, special_ratio
from jaxgrad.verify.port.frameworks._outputs import named
from jaxgrad.verify.port.tracing._first_divergence import Passes
from jaxgrad.verify.report._records import Cause, Divergence

__all__ = ["in_side_output", "side_output"]

MOST_SOURCES = 24
"""How many of the arrays at hand are tried, the latest first."""


def in_side_output(bound: Any, passes: Passes, first: Divergence) -> list[Cause]:
    """Explain an output that differs although every layer agrees."""
    from jaxgrad.verify.port.quantities._jax import JaxQuantities
    from jaxgrad.verify.port.quantities._verdicts import outputs_laid_out

    quantities = JaxQuantities(bound, "float64")
    made = quantities.plain_output(quantities.params, *quantities.batch)[0]
    theirs = {n: to_float64(x) for n, x in named(passes.trace.output).items()}
    ours = outputs_laid_out({"loss": np.zeros(()), **{n: to_float64(x) for n, x in named(made).items()}}, theirs)
    if first.path not in theirs or first.path not in ours:
        return []
    want, got = theirs[first.path], ours[first.path]
    others = [(name, x) for name, x in theirs.items() if name != first.path]
    sources = dict(others + [(c.path or "the output", c.output) for c in passes.trace.calls[::-1]])
    found = side_output(want, got, sources, first.path)
    root = next((pair for pair in passes.aligned if not pair.call.path), None)
    if found or root is None or want.dtype.kind != "f" or want.shape != got.shape:
        return found
    evidence = gather(bound, passes, dataclasses.replace(first, where="output"), root)
    return between(dataclasses.replace(evidence, want=want, got=got)) if evidence is not None else []


def side_output(want: np.ndarray, got: np.ndarray, sources: dict[str, Any], path: str) -> list[Cause]:
    """Explain whole numbers, truth values and complex numbers by what they are made of."""
    if want.shape != got.shape or want.dtype.kind == "f":
        return []
    if want.dtype.kind == "c":
        if same(want.conj(), got):
            return [cause("output", f"JAX returns the conjugate of torch's {path}.", "Take the conjugate.", path,
                          proven=True)]  # fmt: skip
        return _multiple(want, got, path)
    floats = {n: x for n, x in sources.items() if x is not None and x.dtype.kind == "f" and x.ndim}
    theirs = ours = None
    for name, x in list(floats.items())[:MOST_SOURCES]:
        for words, run in _selections(x.ndim):
            made = _made(run, x)
            if made is None or made.shape != want.shape:
                continue
            theirs = theirs or (f"{words} of {name}" if np.array_equal(made, want) else None)
            ours = ours or (f"{words} of {name}" if np.array_equal(made, got) else None)
    if theirs and ours:
        text = f"JAX returns {ours} as {path}, torch {theirs}."
        return [cause("output", text, f"Return {theirs}.", path, proven=True)]
    step = np.unique(got.astype(float) - want.astype(float))
    if len(step) == 1:
        text = f"JAX's {path} is torch's {'plus' if step[0] > 0 else 'minus'} {abs(step[0]):g} everywhere."
        return [cause("output", text, "Count from torch's start.", path, proven=True)]
    if want.dtype.kind == "b" and np.array_equal(want, ~got.astype(bool)):
        return [cause("output", f"JAX's {path} is the inverse of torch's.", "Invert it.", path, proven=True)]
    count = int((want != got).sum())
    text = f"JAX's {path} is another at {count} of {want.size} places" + (f"; torch has {theirs}." if theirs else ".")
    return [cause("output", text, f"Return {theirs}." if theirs else "", path)]


def _multiple(want: np.ndarray, got: np.ndarray, path: str) -> list[Cause]:
    """Say by which real number complex numbers are multiplied."""
    whole = np.vdot(want, want).real
    factor = float(np.vdot(want, got).real / whole) if whole else 0.0
    if not factor or not same(factor * want, got):
        return []
    text = f"JAX's {path} is {special_ratio(factor, {'the last axis': want.shape[-1]})} times torch's."
    return [cause("scale", text, "Use the same norm.", path, proven=True)]


Selection = Callable[[np.ndarray], np.ndarray]


def _selections(ndim: int) -> Iterator[tuple[str, Selection]]:
    """Yield what makes whole numbers or truth values of an array, in words."""
    for axis in range(ndim):
        yield f"the index of the maximum along axis {axis}", functools.partial(_index, 1, axis)
        yield f"the index of the minimum along axis {axis}", functools.partial(_index, -1, axis)
        yield f"the order along axis {axis}", functools.partial(_order, 1, axis)
        yield f"the falling order along axis {axis}", functools.partial(_order, -1, axis)
    yield "the index of the maximum of all", lambda x: np.asarray(np.argmax(x))
    for bound in (0.0, 0.5):
        yield f"where it is above {bound:g}", functools.partial(np.less, bound)
        yield f"where it is below {bound:g}", functools.partial(np.greater, bound)
    yield "the rounding", np.round
    yield "the floor", np.floor
    yield "the ceiling", np.ceil


def _index(sign: int, axis: int, x: np.ndarray) -> np.ndarray:
    """Return where an array is largest, or smallest, along an axis."""
    return np.asarray(np.argmax(sign * x, axis))


def _order(sign: int, axis: int, x: np.ndarray) -> np.ndarray:
    """Return which entries follow one another, in a rising or a falling order."""
    return np.argsort(sign * x, axis, kind="stable")


def _made(run: Selection, x: np.ndarray) -> np.ndarray | None:
    """Return what a selection makes of an array, or ``None`` where it fits no such array."""
    try:
        return run(x)
    except ValueError:
        return None

"""Rows that are a multiple of torch's each, or differ by one number each: norms, sums and means that one side lacks."""

from collections.abc import Iterator

import numpy as np

from jaxgrad.verify.judge._tolerances import EPSILONS, NOT_ZERO, ONE_FACTOR, RECOGNISED_NORM
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["row_factor", "row_shift"]

MOST_SOURCES = 16
"""How many of the arrays at hand are looked at, the latest first."""


def row_factor(e: Evidence) -> list[Cause]:
    """Every row is a multiple of torch's, and the factor is a norm or a sum of a row at hand: a division left out."""
    if e.want.shape != e.got.shape or e.want.ndim < 2 or e.want.shape[-1] < 2:
        return []
    square = (e.want**2).sum(-1)
    if not square.all() or not np.isfinite(e.got).all():
        return []
    factor = (e.got * e.want).sum(-1) / square
    one = np.abs(factor - factor.mean()).max() <= ONE_FACTOR * np.abs(factor).max()
    if one or not same(factor[..., None] * e.want, e.got, ONE_FACTOR):
        return []
    for name, x in _rows(e, factor.shape):
        for words, size in _sizes(x):
            for lacking, other, ratio in (("JAX", "torch", factor), ("torch", "JAX", 1 / factor)):
                if same(ratio, size):
                    text = f"{other} divides by {words} of {name}, {lacking} does not."
                    fix = f"Divide by {words} of {name}." if lacking == "JAX" else f"Do not divide by {words}."
                    return [cause("normalise", text, fix, e.first.path, proven=True)]
            found = _epsilon(e, name, words, size, factor)
            if found:
                return found
    return []


def _epsilon(e: Evidence, name: str, words: str, size: np.ndarray, factor: np.ndarray) -> list[Cause]:
    """Both sides divide by the same, but one of them by a little more."""
    for more, less, ratio in (("JAX", "torch", factor), ("torch", "JAX", 1 / factor)):
        for eps in filter(None, EPSILONS):
            for where, larger in (("under its root", np.sqrt(size**2 + eps)), ("to it", size + eps)):
                if same(size / larger, ratio, RECOGNISED_NORM):
                    text = f"{more} divides by {words} of {name} with {eps:g} added {where}, {less} without."
                    fix = f"Divide by {words} with torch's epsilon, at torch's place."
                    return [cause("epsilon", text, fix, e.first.path, proven=True)]
    return []


def row_shift(e: Evidence) -> list[Cause]:
    """Every row differs by one number, a mean or a maximum of a row at hand: a subtraction left out."""
    if e.want.shape != e.got.shape or e.want.ndim < 2 or e.want.shape[-1] < 2:
        return []
    apart = e.want - e.got
    shift = apart.mean(-1)
    if not shift.any() or not same(np.broadcast_to(shift[..., None], apart.shape), apart):
        return []
    for name, x in _rows(e, shift.shape):
        for words, value in _values(x):
            for lacking, other, sign in (("JAX", "torch", -1), ("torch", "JAX", 1)):
                if same(sign * value, shift):
                    text = f"{other} subtracts {words} of {name}, {lacking} does not."
                    return [cause("centring", text, f"Subtract {words} as torch does.", e.first.path, proven=True)]
    return []


def _rows(e: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield arrays at hand whose rows are as many as those of this place, by their names, the nearest first."""
    given = [(call.path, call.output) for call in e.before[::-1]]
    given += [(name, x) for name, x in e.sources.items()]
    given += [("the input", x) for call in e.around for x in call.inputs[:1]]
    count = 0
    for name, x in given:
        if x is None or x.dtype.kind != "f" or x.shape[:-1] != shape or x.shape[-1] < 2:
            continue
        yield name, x
        count += 1
        if count >= MOST_SOURCES:
            return


def _sizes(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what rows are divided by, in words."""
    square = (x**2).sum(-1)
    yield "the norm", np.sqrt(np.maximum(square, NOT_ZERO))
    yield "the root of the mean square", np.sqrt(np.maximum(square, NOT_ZERO) / x.shape[-1])
    yield "the standard deviation", x.std(-1)
    yield "the sum", x.sum(-1)
    yield "the sum of absolute values", np.abs(x).sum(-1)
    yield "the maximum", x.max(-1)


def _values(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what is subtracted from rows, in words."""
    top = x.max(-1)
    yield "the mean", x.mean(-1)
    yield "the maximum", top
    with np.errstate(over="ignore"):
        yield "the logarithm of the sum of exponentials", top + np.log(np.exp(x - top[..., None]).sum(-1))
    yield "the sum", x.sum(-1)

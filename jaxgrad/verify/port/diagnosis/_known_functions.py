"""Functions that ports confuse, tried on the reference's numbers: a match on both sides proves the cause."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.judge import relative, size
from jaxgrad.verify.judge._tolerances import L2_NORMALISE_EPSILON, NAMED_FACTOR, ONE_FACTOR, RECOGNISED

__all__ = ["ELEMENTWISE", "ratio", "recognise", "same", "special_ratio"]

Function = Callable[[np.ndarray], np.ndarray]


def same(a: np.ndarray, b: np.ndarray, tolerance: float = RECOGNISED) -> bool:
    """Say whether two arrays are the same to rounding."""
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return False
    return relative(a, b) <= tolerance


def ratio(got: np.ndarray, want: np.ndarray) -> float | None:
    """Return the one factor between two arrays, or ``None`` if there is none."""
    if got.shape != want.shape or not np.isfinite(got).all() or not np.isfinite(want).all():
        return None
    whole, peak = size(want), float(np.max(np.abs(want), initial=0.0))
    if not whole:
        return None
    if not np.isfinite(whole):
        return ratio(got / peak, want / peak)
    factor = float(np.vdot(want / whole, got / whole))
    return factor if size(got - factor * want) <= ONE_FACTOR * whole * max(abs(factor), 1) else None


def special_ratio(factor: float, sizes: dict[str, int]) -> str:
    """Name a factor: a number, or one made of the sizes at hand."""
    known = {"2": 2.0, "0.5": 0.5, "-1": -1.0}
    for name, n in sizes.items():
        if n > 1:
            known |= {name: n, f"1/{name}": 1 / n, f"{name}/({name}-1)": n / (n - 1), f"({name}-1)/{name}": 1 - 1 / n}
            known |= {f"sqrt({name})": math.sqrt(n), f"1/sqrt({name})": 1 / math.sqrt(n)}
    for name, value in known.items():
        if abs(factor - value) <= NAMED_FACTOR * abs(value):
            return name
    short = f"{factor:.6g}"
    # a factor that is nearly 1 is told by what it lies beside it
    return short if float(short) != 1 else f"1 {'+' if factor > 1 else '-'} {abs(factor - 1):.2g}"


def _erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return np.vectorize(math.erf, otypes=[float])(x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def _leaky(slope: float, x: np.ndarray) -> np.ndarray:
    """Leaky relu."""
    return np.where(x > 0, x, slope * x)


def _elu(alpha: float, x: np.ndarray) -> np.ndarray:
    """The exponential linear unit."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Softmax along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of the softmax along an axis."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _standardised(ddof: int, x: np.ndarray) -> np.ndarray:
    """An array of mean 0 and deviation 1 along its last axis; a single entry has no deviation with ddof 1."""
    if x.shape[-1] <= ddof:
        return np.full_like(x, np.nan)
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, ddof=ddof, keepdims=True)


ELEMENTWISE: dict[str, Function] = {
    "the identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu (erf)": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu (sigmoid)": lambda x: x * _sigmoid(1.702 * x),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "hard sigmoid (x/6 + 1/2)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard sigmoid (x/5 + 1/2)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "softplus": lambda x: np.logaddexp(x, 0),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "relu6": lambda x: np.clip(x, 0, 6),
    "squared relu": lambda x: np.maximum(x, 0) ** 2,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "abs": np.abs,
    **{f"leaky relu ({s:g})": functools.partial(_leaky, s) for s in (0.01, 0.02, 0.1, 0.2, 0.25, 0.3)},
    **{f"elu ({s:g})": functools.partial(_elu, s) for s in (0.5, 2.0)},
    "the negative": lambda x: -x,
    "the square": lambda x: x**2,
    "softmax over the last axis": lambda x: _softmax(x, -1),
    "softmax over axis 1": lambda x: _softmax(x, 1) if x.ndim > 1 else x,
    "softmax over axis 0": lambda x: _softmax(x, 0),
    "log softmax over the last axis": lambda x: _log_softmax(x, -1),
    "log softmax over axis 1": lambda x: _log_softmax(x, 1) if x.ndim > 1 else x,
    "the exponential": np.exp,
    "the exponential of half": lambda x: np.exp(0.5 * x),
    "the square root": np.sqrt,
    "the logarithm": np.log,
    "the logarithm of 1 + x": np.log1p,
    "l2 normalisation": lambda x: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), L2_NORMALISE_EPSILON),
    "standardisation with ddof 1": functools.partial(_standardised, 1),
    "standardisation with ddof 0": functools.partial(_standardised, 0),
}


def recognise(array: np.ndarray, sources: dict[str, np.ndarray]) -> tuple[str, str] | None:
    """Return which known function of which source an array is."""
    with np.errstate(all="ignore"):
        for name, source in sources.items():
            if source.shape != array.shape:
                continue
            for label, fun in ELEMENTWISE.items():
                if same(fun(source), array):
                    return label, name
            low, high = float(array.min(initial=np.inf)), float(array.max(initial=-np.inf))
            # the entries of a clipped array that lie inside are those of its source
            if low < high and same(np.clip(source, low, high), array):
                return f"a clip to [{low:g}, {high:g}]", name
    return None


def pairs_of(sources: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray, str, np.ndarray]]:
    """Return every two sources of one shape."""
    items: list[Any] = list(sources.items())
    found = []
    for i, (a, x) in enumerate(items):
        found += [(a, x, b, y) for b, y in items[i + 1 :] if x.shape == y.shape]
    return found

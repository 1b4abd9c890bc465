"""Causes in the loss: factors, reductions, and losses that go by nearly the same name."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import NOT_ZERO, RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._known_functions import special_ratio
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["in_loss", "known_losses"]


def in_loss(bound: Any, output: np.ndarray, want: float, got: float, path: str = "loss") -> list[Cause]:
    """Return the causes of a loss that differs although both sides have the same output."""
    target = bound.batch[-1] if len(bound.batch) > 1 else None
    output, classes = _classes_last(output, target)
    if classes and target is not None:
        found = _cross_entropy(output, target, want, got, path)
        if found:
            return found
    if target is not None and target.shape == output.shape and target.dtype.kind == "f" and output.ndim > 1:
        found = _soft_cross_entropy(output, target, want, got, path)
        if found:
            return found
    losses = known_losses(output, target)
    theirs = [name for name, value in losses.items() if _close(value, want)]
    ours = [name for name, value in losses.items() if _close(value, got)]
    sizes = {"the batch size": len(output), "the number of outputs": output.size, "the last axis": output.shape[-1]}
    if output.ndim > 1:
        sizes["axis 1"] = output.shape[1]
    if np.isnan(got) != np.isnan(want):
        nan = "JAX" if np.isnan(got) else "torch"
        return [cause("nan", f"the loss is NaN only in {nan}.", "Look at ignored labels and empty means.", path)]
    factor = special_ratio(got / want, sizes) if want else ""
    if theirs and ours and theirs[0] != ours[0]:
        name = "half-square" if "half" in (theirs[0] + ours[0]) else "loss-form"
        if ("sum" in ours[0]) != ("sum" in theirs[0]) or ("per example" in ours[0]) != ("per example" in theirs[0]):
            name = "reduction"
        return [
            cause(name, f"JAX computes {ours[0]}, torch {theirs[0]}.", f"Use {theirs[0]} in JAX.", path, proven=True)
        ]
    if factor and any(c.isalpha() for c in factor):
        return [cause("reduction", f"JAX's loss is {factor} times torch's.", "Reduce over the same axes.", path)]
    if factor in ("0.5", "2", "-1"):
        name = "half-square" if factor != "-1" else "sign"
        mend = "optax.l2_loss halves the square; use jnp.mean((a - b) ** 2)." if name == "half-square" else "Negate it."
        return [cause(name, f"JAX's loss is {factor} times torch's.", mend, path)]
    return []


def _classes_last(z: np.ndarray, t: Any) -> tuple[np.ndarray, bool]:
    """Return an output with its classes last, and whether the target holds labels of them."""
    if t is None or t.dtype.kind not in "iu":
        return z, False
    if t.shape == z.shape[:-1]:
        return z, True
    if z.ndim > 1 and t.shape == (z.shape[0], *z.shape[2:]):
        return np.moveaxis(z, 1, -1), True
    return z, False


def _cross_entropy(z: np.ndarray, t: np.ndarray, want: float, got: float, path: str) -> list[Cause]:
    """Explain cross-entropies of integer labels by what they count, divide by and smooth."""
    classes = z.shape[-1]
    shifted = z - z.max(-1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    clipped = np.clip(t, 0, classes - 1)[..., None]
    settings = {
        "kept": tuple(Option(k, w) for k, w in (("labels", "the labels that are not negative"), ("all", "every label"),
                      (0, "the labels that are not 0"), (1, "the labels that are not 1"),
                      (classes - 1, "the labels that are not the last class"))),
        "divisor": tuple(Option(d, w) for d, w in (
            ("kept", "divided by their number"), ("all", "divided by the number of all labels"),
            ("batch", "divided by the batch size"), ("sum", "summed"), ("rows", "as a mean of the means of each row"),
            ("axis", "divided by the length of a row"))),
        "smoothing": tuple(Option(v, f"with label smoothing {v:g}") for v in (0.0, 0.1, 0.05, 0.2, 0.01, 0.3)),
        "form": (Option("all", "spread over all classes"), Option("others", "spread over the other classes")),
    }  # fmt: skip

    def compute(kept: Any, divisor: str, smoothing: float, form: str) -> np.ndarray | None:
        nll = -np.take_along_axis(logp, clipped, -1)[..., 0]
        spread = -logp.sum(-1)
        rest = spread / classes if form == "all" else (spread - nll) / (classes - 1)
        each = (1 - smoothing) * nll + smoothing * rest
        mask = {"labels": t >= 0, "all": np.ones(t.shape, bool)}.get(kept, t != kept).astype(float)
        total = (each * mask).sum()
        if divisor == "rows":
            inner = tuple(range(1, t.ndim))
            return np.array([((each * mask).sum(inner) / mask.sum(inner)).mean()]) if t.ndim > 1 else None
        by = {"kept": mask.sum(), "all": t.size, "batch": len(t), "sum": 1, "axis": t.shape[-1]}[divisor]
        return np.array([total / by])

    family = Family(compute, settings, ("kept", "divisor", "smoothing"))
    changes = match(family, np.array([want]), np.array([got]))
    ids = {"smoothing": "label-smoothing", "form": "label-smoothing"}
    return [
        cause(ids.get(c.setting, "reduction"), f"JAX's cross-entropy is taken {c.ours.words}, torch's {c.theirs.words}."
              if c.setting != "kept" else f"JAX's cross-entropy counts {c.ours.words}, torch's {c.theirs.words}.",
              "", path, proven=True)
        for c in changes or ()
    ]  # fmt: skip


TEMPERATURES = (1.0, 0.1, 0.04, 0.05, 0.06, 0.07, 0.2, 0.5, 2.0, 3.0, 4.0, 5.0)
"""Those that distillation and contrastive losses are written with."""


def _soft_cross_entropy(z: np.ndarray, t: np.ndarray, want: float, got: float, path: str) -> list[Cause]:
    """Explain a loss of soft targets, as distillation has it, by its temperatures and by what it is divided by."""
    z, t = (np.asarray(x, np.float64) for x in (z, t))

    def log_softmax(x: np.ndarray) -> np.ndarray:
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    rows = z.size // z.shape[-1]
    settings = {
        "target": (*(Option(v, f"a target softened at temperature {v:g}") for v in TEMPERATURES),
                   Option(None, "a target of probabilities")),
        "output": tuple(Option(v, f"an output at temperature {v:g}") for v in TEMPERATURES),
        "divisor": tuple(Option(v, w) for v, w in (
            (rows, "a mean over the rows"), (1, "a sum"), (z.size, "a mean over all entries"),
            (len(z), "a sum over the batch size"))),
        "form": (Option("cross", "a cross-entropy"), Option("kl", "a Kullback-Leibler divergence")),
        "factor": (Option(False, "no factor of the temperature"), Option(True, "the square of the temperature")),
    }  # fmt: skip

    # thousands of settings share a few sums over the arrays
    @functools.cache
    def probabilities(target: float | None) -> np.ndarray:
        return t if target is None else np.exp(log_softmax(t / target))

    @functools.cache
    def cross(target: float | None, output: float) -> float:
        return float(-(probabilities(target) * log_softmax(z / output)).sum())

    @functools.cache
    def entropy(target: float | None) -> float:
        p = probabilities(target)
        return float(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum())

    def compute(target: float | None, output: float, divisor: int, form: str, factor: bool) -> np.ndarray:
        whole = cross(target, output) + (entropy(target) if form == "kl" else 0.0)
        return np.array([whole * (output**2 if factor else 1.0) / divisor])

    family = Family(compute, settings, ("target", "output", "divisor"))
    ids = {"target": "temperature", "output": "temperature", "factor": "temperature", "form": "loss-form"}
    return [
        cause(ids.get(c.setting, "reduction"), f"JAX's loss has {c.ours.words}, torch's {c.theirs.words}.", "", path,
              proven=True)
        for c in match(family, np.array([want]), np.array([got])) or ()
    ]  # fmt: skip


def _close(a: float, b: float) -> bool:
    """Say whether two losses are the same to rounding."""
    return bool(abs(a - b) <= RECOGNISED * max(abs(b), NOT_ZERO))


def known_losses(z: np.ndarray, t: Any) -> dict[str, float]:
    """Return the losses that go with an output and a target."""
    z = np.asarray(z, np.float64)
    if t is None:
        return {"the mean square": float((z**2).mean()), "half the mean square": float((z**2).mean() / 2)}
    found: dict[str, Callable[[], Any]] = {}
    if t.shape == z.shape and t.dtype.kind == "f":
        d, n = z - t, len(z)
        found = {
            "the mean square": lambda: (d**2).mean(),
            "half the mean square": lambda: (d**2).mean() / 2,
            "the sum of squares": lambda: (d**2).sum(),
            "half the sum of squares": lambda: (d**2).sum() / 2,
            "the sum of squares per example": lambda: (d**2).sum() / n,
            "the root of the mean square": lambda: np.sqrt((d**2).mean()),
            "the mean absolute error": lambda: np.abs(d).mean(),
            "the sum of absolute errors": lambda: np.abs(d).sum(),
            "the mean log-cosh": lambda: np.log(np.cosh(d)).mean(),
        }
        for beta in (0.1, 0.5, 1.0, 2.0):
            huber = np.where(np.abs(d) < beta, d**2 / 2, beta * (np.abs(d) - beta / 2)).mean()
            found[f"huber(delta={beta})"] = _constant(huber)
            found[f"smooth_l1(beta={beta})"] = _constant(huber / beta)
    elif t.dtype.kind in "iu" and t.shape == z.shape[:-1]:
        found = _classification(z, t)
    with np.errstate(all="ignore"):
        return {name: float(fun()) for name, fun in found.items()}


def _constant(value: Any) -> Callable[[], Any]:
    """Return a function of nothing."""
    return lambda: value


def _classification(z: np.ndarray, t: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return cross-entropies of integer labels."""
    top = z.max(-1, keepdims=True)
    logp = z - top - np.log(np.exp(z - top).sum(-1, keepdims=True))
    kept = t >= 0
    nll = -np.take_along_axis(logp, np.where(kept, t, 0)[..., None], -1)[..., 0]
    found: dict[str, Callable[[], Any]] = {
        "the mean cross-entropy": lambda: nll.mean() if kept.all() else np.nan,
        "the mean cross-entropy of the kept labels": lambda: nll[kept].mean(),
        "the cross-entropy of the kept labels over all": lambda: nll[kept].sum() / nll.size,
        "the sum of cross-entropies": lambda: nll.sum(),
        "the sum of cross-entropies per example": lambda: nll.sum() / len(nll),
        "the mean cross-entropy without label 0": lambda: nll[t != 0].mean(),
    }
    for s in (0.05, 0.1, 0.2):
        smooth = (1 - s) * nll - s * logp.mean(-1)
        found[f"the mean cross-entropy with label smoothing {s}"] = _constant(smooth.mean())
    return found

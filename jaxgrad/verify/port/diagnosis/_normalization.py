"""Causes inside of a norm: epsilon and its place, the variance, axes and groups, scale, the statistics in use."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.judge import relative
from jaxgrad.verify.judge._tolerances import (
    CLOSE_TO_TORCH,
    EPSILONS,
    FAR_FROM_ZERO_IN_A_NORM,
    LAYER_EPSILON,
    NOT_ZERO,
    RECOGNISED_NORM,
)
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.port.diagnosis._matcher import Change, Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["batch_norm", "norm"]


def norm(e: Evidence) -> list[Cause]:
    """Another epsilon, variance, other axes or groups, another use of the scale: whatever the norm is called."""
    x = e.inputs[0]
    scale, bias = _vectors(e)
    if x.ndim < 2 or e.want.shape != x.shape or e.got.shape != x.shape:
        return []
    family = Family(functools.partial(_normal, x, scale, bias), _settings(e, x, scale, bias), ("over", "eps", "centre"),
                    RECOGNISED_NORM)  # fmt: skip
    found = match(family, e.want, e.got)
    if found:
        return [
            cause(name, f"JAX has {c.ours.words}, torch {c.theirs.words}.", _mend(c), e.pair.call.path, proven=True)
            for c in found
            for name in [_name(c)]
        ]
    return _fast_variance(e)


def _vectors(e: Evidence) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the scale and the bias of a norm: its own parameters, by their order."""
    prefix = f"{e.pair.call.path}." if e.pair.call.path else ""
    own = {n: w for n, w in e.bound.torch.params.items() if n.startswith(prefix) and "." not in n.removeprefix(prefix)}
    bias = next((w for n, w in own.items() if n.removeprefix(prefix) in ("bias", "beta", "b", "shift")), None)
    scale = next((w for w in own.values() if w is not bias), None)
    return scale, bias


def _settings(
    e: Evidence, x: np.ndarray, scale: np.ndarray | None, bias: np.ndarray | None
) -> dict[str, tuple[Option, ...]]:
    """Return what may differ; the settings of the torch layer first."""
    given = e.torch.get("eps", e.torch.get("variance_epsilon"))
    epsilons = list(dict.fromkeys([*([float(given)] if isinstance(given, float) else []), *EPSILONS]))
    tail = len(e.torch["normalized_shape"]) if isinstance(e.torch.get("normalized_shape"), tuple) else 1
    over = [Option(("tail", tail), "the norm over the last axis" if tail == 1 else f"that over the last {tail} axes")]
    if x.ndim > 2:
        over += [Option(("channels", 0), "the norm over axis 1"), Option(("image", 0), "the norm of every channel"),
                 Option(("example", 0), "the norm over all of an example")]  # fmt: skip
    counts = [g for g in range(2, x.shape[1]) if x.shape[1] % g == 0] if x.ndim > 2 else []
    over += [Option(("groups", g), f"{g} groups") for g in counts]
    over += [Option(("tail", t), f"the norm over the last {t} axes") for t in range(1, x.ndim) if t != tail]
    held = e.torch.get("num_groups")
    if held or "Instance" in e.torch.get("kind", ""):
        wanted = ("groups", held) if held and 1 < held < x.shape[1] else ("example" if held == 1 else "image", 0)
        over.sort(key=lambda o: o.value != wanted)
    return {
        "over": tuple(over),
        "eps": tuple(Option(v, f"an epsilon of {v:g}") for v in epsilons),
        "centre": (Option(True, "the mean subtracted"), Option(False, "no mean subtracted")),
        "place": (Option("inside", "the epsilon inside of the root"),
                  Option("outside", "the epsilon outside of the root"), Option("most", "the epsilon as a bound")),
        "ddof": (Option(0, "the variance divided by N"), Option(1, "the variance divided by N - 1")),
        "scale": (Option("w", "the scale w"), Option("1 + w", "the scale 1 + w"), Option("", "no scale"))
        if scale is not None else (Option("", "no scale"),),
        "bias": (Option(True, "the bias"), Option(False, "no bias"))
        if bias is not None else (Option(False, "no bias"),),
    }  # fmt: skip


def _normal(x: np.ndarray, gain: np.ndarray | None, offset: np.ndarray | None, **s: Any) -> np.ndarray | None:
    """Compute a norm with settings."""
    kind, count = s["over"]
    shaped, axes = x, tuple(range(-count, 0))
    if kind == "groups":
        shaped, axes = x.reshape(len(x), count, -1), (2,)
    elif kind != "tail":
        axes = {"channels": (1,), "image": tuple(range(2, x.ndim)), "example": tuple(range(1, x.ndim))}[kind]
    n = math.prod(shaped.shape[a] for a in axes)
    centred = shaped - shaped.mean(axes, keepdims=True)
    power = ((centred if s["centre"] else shaped) ** 2).sum(axes, keepdims=True) / (n - s["ddof"])
    root = np.sqrt(power + s["eps"]) if s["place"] == "inside" else np.sqrt(power) + s["eps"]
    root = np.maximum(np.sqrt(power), s["eps"]) if s["place"] == "most" else root
    out = ((centred if s["centre"] else shaped) / root).reshape(x.shape)
    for array, factor, used in ((gain, True, s["scale"]), (offset, False, s["bias"])):
        if array is not None and used:
            wide = _along(array, x, kind)
            out = out * (1 + wide if used == "1 + w" else wide) if factor else out + wide
    return out


def _along(array: np.ndarray, x: np.ndarray, kind: str) -> np.ndarray:
    """Return a vector laid along the channels: axis 1 of a norm of images, and else the last axes."""
    if kind != "tail" and array.ndim == 1 and array.size == x.shape[1]:
        return array.reshape(-1, *[1] * (x.ndim - 2))
    return array


def _name(change: Change) -> str:
    """Return the cause that a setting stands for."""
    if change.setting == "over":
        return "groups" if "groups" in (change.ours.value[0], change.theirs.value[0]) else "norm-axes"
    if change.setting == "scale":
        return "scale-missing" if "" in (change.ours.value, change.theirs.value) else "scale-plus-one"
    return {"eps": "epsilon", "centre": "centring", "place": "epsilon-place", "ddof": "ddof", "bias": "bias-missing"}[
        change.setting
    ]


def _mend(change: Change) -> str:
    """Return the fix with its figure, where the catalogue has none."""
    if change.setting == "eps":
        return f"Set epsilon={change.theirs.value:g} in the JAX layer."
    if change.setting == "over" and change.theirs.value[0] == "groups":
        return f"Set num_groups={change.theirs.value[1]}."
    return ""


def _epsilon(e: Evidence, eps: float, normal: Callable[[float], np.ndarray]) -> list[Cause]:
    """Another epsilon than torch's, tried on a norm as a function of it."""
    for other in EPSILONS:
        if other != eps and same(normal(other), e.got, RECOGNISED_NORM):
            text = f"JAX's epsilon is {other:g}, torch's {eps:g}."
            return proven(e, "epsilon", text, f"Set epsilon={eps:g} in the JAX layer.")
    return []


def _fast_variance(e: Evidence) -> list[Cause]:
    """A variance that cancels, named after its pattern."""
    x = e.inputs[0]
    close = relative(e.got, e.want)
    mean, std = np.abs(x.mean(-1)).max(), max(x.std(-1).min(), NOT_ZERO)
    if mean / std > FAR_FROM_ZERO_IN_A_NORM and close < CLOSE_TO_TORCH:
        return [
            cause(
                "fast-variance",
                f"the mean is {mean / std:.0f} times the deviation, and E[x^2] - E[x]^2 loses digits.",
                "Set use_fast_variance=False.",
                e.pair.call.path,
            )
        ]
    return []


def batch_norm(e: Evidence) -> list[Cause]:
    """Batch or running statistics, epsilon, ddof."""
    x, scale, bias = e.inputs[0], e.weight("weight"), e.weight("bias")
    mean, var = e.weight("running_mean"), e.weight("running_var")
    axes = (0, *range(2, x.ndim))
    wide = (1, -1, *[1] * (x.ndim - 2))
    eps = e.torch.get("eps", LAYER_EPSILON)
    trained = e.bound.torch.train

    def normal(batch: bool, eps: float, ddof: int = 0) -> np.ndarray:
        m = x.mean(axes) if batch or mean is None else mean
        n = x.size // x.shape[1]
        v = x.var(axes) * n / (n - ddof) if batch or var is None else var
        out = (x - m.reshape(wide)) / np.sqrt(v.reshape(wide) + eps)
        return out * (1 if scale is None else scale.reshape(wide)) + (0 if bias is None else bias.reshape(wide))

    if same(normal(not trained, eps), e.got):
        words = ("batch", "running") if not trained else ("running", "batch")
        return proven(
            e,
            "batchnorm-mode",
            f"JAX normalises with the {words[0]} statistics, torch with the {words[1]} ones.",
            f"Set use_running_average={not trained}.",
        )
    found = _epsilon(e, eps, lambda other: normal(trained, other))
    if found:
        return found
    if same(normal(trained, eps, 1), e.got):
        return proven(e, "ddof", "JAX divides the variance by N - 1.", "Use ddof=0.")
    return []

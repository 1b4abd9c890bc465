"""Causes inside of a norm: epsilon, the variance, groups, the statistics that are used."""

import math
from collections.abc import Callable

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
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["batch_norm", "norm"]


def norm(e: Evidence) -> list[Cause]:
    """Another epsilon, another variance, another number of groups."""
    x, scale, bias = e.inputs[0], e.weight("weight"), e.weight("bias")
    kind, eps = e.torch["kind"], e.torch.get("eps") or float(np.finfo(np.float64).eps)
    groups = e.torch.get("num_groups", 1)
    tail = len(e.torch["normalized_shape"]) if "normalized_shape" in e.torch else 1
    if kind in ("LayerNorm", "RMSNorm") and scale is not None and scale.shape != x.shape[x.ndim - tail :]:
        # a layer of that name which normalises another axis
        return []

    def normal(eps: float, ddof: int, groups: int, centre: bool, use: tuple[bool, bool]) -> np.ndarray:
        shaped = x
        if kind in ("GroupNorm", "InstanceNorm2d", "InstanceNorm1d"):
            count = groups if kind == "GroupNorm" else x.shape[1]
            shaped = x.reshape(len(x), count, -1)
            axes: tuple[int, ...] = (2,)
        else:
            axes = tuple(range(-tail, 0))
        mean = shaped.mean(axes, keepdims=True) if centre else 0.0
        n = math.prod(shaped.shape[a] for a in axes)
        power = ((shaped - mean) ** 2).sum(axes, keepdims=True) / (n - ddof)
        out = ((shaped - mean) / np.sqrt(power + eps)).reshape(x.shape)
        wide = (-1, *[1] * (x.ndim - 2)) if kind in ("GroupNorm", "InstanceNorm2d", "InstanceNorm1d") else None
        for array, factor, used in ((scale, True, use[0]), (bias, False, use[1])):
            if array is not None and used:
                array = array.reshape(wide) if wide else array
                out = out * array if factor else out + array
        return out

    centre, both = kind != "RMSNorm", (True, True)
    found = _epsilon(e, eps, lambda other: normal(other, 0, groups, centre, both))
    if found:
        return found
    variants = [
        ("ddof", (eps, 1, groups, centre, both), "JAX divides the variance by N - 1.", "Use ddof=0."),
        ("centring", (eps, 0, groups, not centre, both), "one side subtracts the mean and the other does not.",
         "Use LayerNorm for LayerNorm and RMSNorm for RMSNorm."),
        ("scale-missing", (eps, 0, groups, centre, (False, True)), "JAX leaves the scale out.", "Set use_scale=True."),
        ("bias-missing", (eps, 0, groups, centre, (True, False)), "JAX leaves the bias out.", "Set use_bias=True."),
    ]  # fmt: skip
    variants += [
        ("groups", (eps, 0, g, centre, both), f"JAX uses {g} groups, torch {groups}.", f"Set num_groups={groups}.")
        for g in range(1, x.shape[1] + 1 if kind == "GroupNorm" else 1)
        if x.shape[1] % g == 0 and g != groups
    ]
    for name, args, text, mend in variants:
        if same(normal(*args), e.got, RECOGNISED_NORM):
            return proven(e, name, text, mend)
    return _fast_variance(e)


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
            Cause(
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

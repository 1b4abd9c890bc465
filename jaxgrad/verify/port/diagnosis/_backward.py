"""Causes that show only in derivatives: kinks, stopped gradients, tied weights, ignored rows."""

from typing import Any

import numpy as np

from jaxgrad.verify.judge import floor_of, relative
from jaxgrad.verify.judge._tolerances import LOST_SECOND_ORDER, NAMED_FACTOR, RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._known_functions import ratio, special_ratio
from jaxgrad.verify.port.tracing._first_divergence import Passes
from jaxgrad.verify.report._records import Cause, Divergence, Result

__all__ = ["at_kinks", "in_backward", "in_quantities"]

KINKS = {"0": 0.0, "1": 1.0, "-1": -1.0, "6": 6.0, "3": 3.0, "-3": -3.0}


def in_backward(bound: Any, passes: Passes, first: Divergence) -> list[Cause]:
    """Return the causes of a divergence that the forward pass does not show."""
    if first.where == "weights":
        return _weights(bound, passes, first)
    pair = next((a for a in passes.aligned if a.slot[0] == first.jax), None)
    if pair is None:
        return []
    ref = passes.plan[pair.slot]
    if first.where == "input":
        got, want = passes.forced.output_cotangents[pair.slot], ref.cotangent
        value = ref.output
    else:
        grads = passes.forced.input_cotangents[pair.slot]
        index = max(grads, key=lambda i: float(np.linalg.norm(grads[i] - ref.input_cotangents[i])), default=None)
        if index is None:
            return []
        got, want, value = grads[index], ref.input_cotangents[index], ref.inputs[index]
    return _cotangent(bound, first, got, want, value)


def _cotangent(bound: Any, first: Divergence, got: np.ndarray, want: np.ndarray, value: np.ndarray) -> list[Cause]:
    """Explain a cotangent: none, a factor, or wrong only where a value lies at a kink."""
    scale = float(np.abs(want).max(initial=0))
    wrong = np.abs(got - want) > RECOGNISED * max(scale, float(np.abs(got).max(initial=0)))
    if not got.any() and want.any():
        return [
            cause("stop-gradient", "JAX sends no gradient back here.", "Remove stop_gradient.", first.path, proven=True)
        ]
    if not want.any() and got.any():
        return [
            cause("detach", "torch sends no gradient back here.", "Use stop_gradient in JAX.", first.path, proven=True)
        ]
    found = at_kinks(bound, first, wrong, value)
    if found:
        return found
    factor = ratio(got, want)
    if factor is not None and abs(factor - 1) > NAMED_FACTOR:
        name = special_ratio(factor, {"the batch size": len(value) if value.ndim else 1})
        return [
            cause("gradient-scale", f"JAX's gradient is {name} times torch's.", "Look for a custom rule.", first.path)
        ]
    return []


def at_kinks(bound: Any, first: Divergence, wrong: np.ndarray, value: np.ndarray) -> list[Cause]:
    """Say how many of the wrong entries lie at a kink, and what either framework gives there."""
    arrays = {"activations": value}
    target = bound.batch[-1]
    if first.path == "loss" and target.shape == value.shape and target.dtype.kind == "f":
        arrays = {"residuals": value - target, **arrays}
    for words, array in arrays.items():
        for label, point in KINKS.items():
            at = array == point
            if at.any() and wrong.any() and at.shape == wrong.shape and not (wrong & ~at).any():
                return [_kink(f"{int(wrong.sum())} {words} are exactly {label}", point, first.path, words)]
    ties = _ties(value, wrong)
    if ties:
        return [
            cause("kink", f"{ties} maxima are ties: torch gives the gradient to one entry, JAX to all of them.",
                  "Break the ties, or use argmax and take_along_axis in JAX.", first.path, proven=True)
        ]  # fmt: skip
    return []


def _ties(value: np.ndarray, wrong: np.ndarray) -> int:
    """Count the wrong entries that share a maximum along an axis with another one."""
    for axis in range(value.ndim):
        top = value == value.max(axis, keepdims=True)
        tied = top & (top.sum(axis, keepdims=True) > 1)
        if tied.any() and wrong.any() and not (wrong & ~tied).any():
            return int(tied.any(axis).sum())
    return 0


def _kink(count: str, point: float, path: str, words: str) -> Cause:
    """Name the functions whose derivatives differ at a point, from the probes of the installed versions."""
    from jaxgrad.verify._nonsmooth import kinks

    rows = [k for k in kinks() if k.point == point and not k.same_first and "(x, x)" not in k.function]
    rows.sort(key=lambda k: (k.function != "abs") if words == "residuals" else 0)
    known = "; ".join(f"the derivative of {k.function} is {k.torch_first:g} in torch and {k.jax_first:g} in JAX"
                      for k in rows[:3] if not isinstance(k.torch_first, str))  # fmt: skip
    mend = "Neither is wrong; to agree, write the function out with jnp.where and the side that you want."
    return cause("kink", f"{count}: {known}." if known else f"{count}, a kink.", mend, path, proven=True)


def _weights(bound: Any, passes: Passes, first: Divergence) -> list[Cause]:
    """Explain gradients of weights whose layer sends the right gradient back."""
    prefix = "" if first.path == "(model)" else f"{first.path}."
    causes, floor = [], floor_of(passes.trace.gradients.values())
    for name, want in passes.trace.gradients.items():
        got = passes.gradients.get(name)
        if not name.startswith(prefix) or got is None or relative(got, want, floor) <= RECOGNISED:
            continue
        causes += one_weight(bound, name, got, want, first.path)
    return causes[:1]


def one_weight(bound: Any, name: str, got: np.ndarray, want: np.ndarray, path: str) -> list[Cause]:
    """Explain the gradient of one weight."""
    tied = name in bound.torch.aliases.values()
    if not got.any() and want.any():
        return [cause("stop-gradient", f"JAX gives {name} no gradient.", "Remove stop_gradient.", path, proven=True)]
    if not want.any() and got.any():
        return [cause("detach", f"torch gives {name} no gradient.", "Use stop_gradient in JAX.", path, proven=True)]
    rows = np.abs(got - want).reshape(len(want), -1).max(1) > RECOGNISED * np.abs(want).max()
    if want.ndim == 2 and 0 < rows.sum() <= 2:
        which = [int(i) for i in np.flatnonzero(rows)]
        if not want[rows].any():
            text = f"only row {which[0]} of {name} differs: torch's padding_idx gives it no gradient."
            return [cause("padding-idx", text, "Stop the gradient of that row in JAX.", path, proven=True)]
    factor = ratio(got, want)
    if factor is not None and abs(factor - 1) > NAMED_FACTOR:
        label = special_ratio(factor, {"the batch size": len(bound.batch[0])})
        kind = "tied-weights" if tied else "gradient-scale"
        return [cause(kind, f"JAX's gradient of {name} is {label} times torch's.", "Count it once.", path)]
    if tied:
        text = f"{name} is tied in torch, and JAX does not add up the gradients of all its uses."
        return [cause("tied-weights", text, "Use one parameter, for example embed.attend.", path)]
    return []


def in_quantities(bound: Any, results: list[Result], first: Divergence) -> list[Cause]:
    """Explain from the quantities alone: a factor common to all leaves, a lost second order, one leaf out of all."""
    wrong = {r.name: r for r in results if r.verdict == "differ"}
    if "meta_second_order" in wrong and wrong["meta_second_order"].leaves:
        leaves = wrong["meta_second_order"].leaves
        if all(leaf.ratio < LOST_SECOND_ORDER for leaf in leaves):
            return [
                cause("first-order-meta", "JAX's meta-gradient has no second-order part: it is first-order MAML.",
                      "Remove stop_gradient from the inner step.", "meta", proven=True)
            ]  # fmt: skip
        if all(leaf.ratio > 1 / LOST_SECOND_ORDER for leaf in leaves):
            return [
                cause("first-order-meta", "torch's meta-gradient has no second-order part: it is first-order MAML.",
                      "Use create_graph=True in the inner step.", "meta", proven=True)
            ]  # fmt: skip
    for name, result in wrong.items():
        moved = [leaf for leaf in result.leaves if leaf.error > RECOGNISED and leaf.size]
        factors = {round(leaf.ratio, 7) for leaf in moved if abs(abs(leaf.cosine) - 1) < RECOGNISED}
        same_all = len(moved) == len(result.leaves) and len(factors) == 1
        if same_all and all(abs(abs(leaf.cosine) - 1) < RECOGNISED for leaf in moved):
            sizes = {"the batch size": len(bound.batch[0]), "the number of outputs": bound.batch[-1].size}
            factor = factors.pop() * np.sign(moved[0].cosine)
            if not factor:
                text = f"JAX sends no gradient back to any leaf of {name.replace('_', ' ')}."
                return [cause("stop-gradient", text, "Remove stop_gradient.", first.path)]
            label = special_ratio(factor, sizes)
            kind = "reduction" if any(c.isalpha() for c in label) else "scale"
            text = f"every leaf of {name.replace('_', ' ')} is {label} times torch's."
            return [cause(kind, text, "Reduce by the same number.", first.path)]
    only_second = wrong.keys() <= {"hvp", "ggn", "nth", "meta", "meta_second_order"} and wrong
    if only_second:
        return _second_order(bound, wrong, first)
    return []


def _second_order(bound: Any, wrong: dict[str, Result], first: Divergence) -> list[Cause]:
    """Explain second derivatives that differ while the first agree."""
    from jaxgrad.verify._nonsmooth import kinks

    leaves = [leaf for r in wrong.values() for leaf in r.leaves]
    if all(leaf.ratio < RECOGNISED for leaf in leaves if leaf.error > RECOGNISED):
        return [cause("stop-gradient", "JAX's second derivatives vanish: the gradient is cut inside of the loss.",
                      "Remove stop_gradient.", first.path)]  # fmt: skip
    rows = [k for k in kinks() if k.same_first and not k.same_second and not isinstance(k.torch_second, str)]
    names = ", ".join(dict.fromkeys(k.function for k in rows if np.isfinite([k.torch_second, k.jax_second]).all()))
    count = _zeros(bound)
    if count:
        text = f"{count} activations are exactly 0, where the second derivatives of {names} differ by framework."
        return [cause("kink", text, "Neither is wrong; move the inputs off the kink, or write jnp.where.", first.path)]
    return []


def _zeros(bound: Any) -> int:
    """Count the activations that are exactly zero."""
    from jaxgrad.verify.port.tracing._record_torch import capture

    calls = capture(bound.torch, bound.batch).calls
    relu = [c for c in calls if c.output is not None and not any(d.parent is c for d in calls)]
    return int(sum((c.inputs[0] == 0).sum() for c in relu if c.inputs and c.inputs[0] is not None))

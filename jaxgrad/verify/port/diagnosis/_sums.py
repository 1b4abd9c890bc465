"""Sums: a residual left out or taken elsewhere, a factor of one addend, something that one side does not add."""

import numpy as np

from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, NO_ADDEND
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven_here
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, pairs_of, ratio, same, special_ratio
from jaxgrad.verify.report._records import Cause

__all__ = ["combination", "residual", "scaled"]

MOST_ADDENDS = 8
"""How many arrays a sum is taken apart into, the latest first."""


def residual(e: Evidence) -> list[Cause]:
    """A residual left out, added twice, or taken from another place."""
    for a, x, b, y in pairs_of(e.sources):
        for label in ("the identity", "relu"):
            if same(ELEMENTWISE[label](x + y), e.want) and (found := _other_sum(e, {a: x, b: y}, label)):
                return found
    return []


def _other_sum(e: Evidence, parts: dict[str, np.ndarray], label: str) -> list[Cause]:
    """Explain what JAX has where torch applies a function to the sum of two arrays."""
    fun, relu = ELEMENTWISE[label], ELEMENTWISE["relu"]
    (a, x), (b, y) = parts.items()
    for words, made, other in ((a, x, b), (b, y, a)):
        if same(fun(made), e.got) or same(made, e.got):
            text = f"JAX passes {words} on alone; torch adds {other}."
            return proven_here(e, "residual", text, "Add the residual.")
        if same(fun(x + y + made), e.got):
            return proven_here(e, "residual", f"JAX adds {words} twice.", "Add it once.")
    if any(same(made, e.got) for made in (x + relu(y), y + relu(x), x + y)):
        text = f"torch takes {'relu of ' * (label == 'relu')}the sum, JAX applies it before or not at all."
        return proven_here(e, "residual-order", text, "Apply the activation after the addition.")
    for name, z in e.sources.items():
        for words, made, other in ((a, x, b), (b, y, a)):
            if z.shape == x.shape and same(fun(made + z), e.got):
                return proven_here(e, "residual", f"JAX adds {name} to {words}.", f"Add {other}.")
    return []


def scaled(e: Evidence) -> list[Cause]:
    """A constant factor, also of one addend."""
    sizes = {"the width": e.want.shape[-1]} if e.want.ndim else {}
    factor = ratio(e.got, e.want)
    if factor is not None and not _plain(factor):
        return proven_here(
            e, "scale", f"JAX's array is {special_ratio(factor, sizes)} times torch's.", "Use the same factor."
        )
    for name, source in e.sources.items():
        if source.shape != e.want.shape:
            continue
        rest, other = e.want - source, e.got - source
        factor = ratio(other, rest) if rest.any() else None
        if factor is not None:
            if abs(factor) < NO_ADDEND:
                added = _addend(e, rest)
                text = f"torch adds {added or 'something'} to {name}, JAX does not."
                # what is not known cannot be added: it is a place to look at
                return [cause("addend-missing", text, "Add it.", e.first.path, proven=bool(added))]
            if _plain(factor):
                continue
            text = f"what JAX adds to {name} is {special_ratio(factor, sizes)} times what torch adds."
            return proven_here(e, "scale", text, "Use the same factor.")
        factor = ratio(e.got - e.want, source) if source.any() else None
        if factor is not None and abs(factor + 1) <= NAMED_FACTOR:
            return proven_here(e, "addend-missing", f"torch adds {name}, JAX does not.", "Add it.")
        if factor is not None and abs(factor - 1) <= NAMED_FACTOR:
            return proven_here(
                e, "residual", f"JAX adds {name} once more than torch up to here.", "Add it where torch adds it."
            )
        if factor is not None and abs(factor) > NO_ADDEND:
            text = f"JAX has {special_ratio(factor, sizes)} times {name} more than torch."
            return proven_here(e, "scale", text, f"Scale {name} as torch does.")
    return []


def combination(e: Evidence) -> list[Cause]:
    """Sums of the same arrays with other factors."""
    held: dict[str, np.ndarray] = {}
    for name, x in e.sources.items():
        if x.shape == e.want.shape and not any(same(x, y) for y in held.values()):
            held[name] = x
    held = dict(list(held.items())[:MOST_ADDENDS])
    if len(held) < 2 or e.want.size <= len(held) or e.want.shape != e.got.shape:
        return []
    columns = np.stack([x.ravel() for x in held.values()], 1)
    theirs, ours = (np.linalg.lstsq(columns, x.ravel())[0] for x in (e.want, e.got))
    if not (same(columns @ theirs, e.want.ravel()) and same(columns @ ours, e.got.ravel())):
        return []
    rows = [(n, t, o) for n, t, o in zip(held, theirs, ours, strict=True) if abs(t - o) > NAMED_FACTOR]
    told = "; ".join(f"{_times(o, n)} for torch's {_times(t, n)}" for n, t, o in rows)
    left = any(abs(o) < NAMED_FACTOR or abs(t) < NAMED_FACTOR for _, t, o in rows)
    return proven_here(e, "residual" if left else "scale", f"JAX adds {told}.") if rows else []


def _times(factor: float, name: str) -> str:
    """Return a multiple of an array in words."""
    for plain, words in ((1, name), (0, f"nothing of {name}"), (-1, f"minus {name}")):
        if abs(factor - plain) <= NAMED_FACTOR:
            return words
    return f"{special_ratio(factor, {})} times {name}"


def _plain(factor: float) -> bool:
    """Say whether a factor is 1, or nothing at all: neither explains a difference."""
    return abs(factor - 1) <= NAMED_FACTOR or abs(factor) <= NO_ADDEND


def _addend(e: Evidence, rest: np.ndarray) -> str:
    """Return the name of what torch adds, where it is at hand: an array, or a parameter that every example shares."""
    held = {**e.sources, **{n: x for n, x in e.under().items() if x.dtype.kind == "f"}}
    with np.errstate(all="ignore"):
        wide = {name: _broadcast(x, rest.shape) for name, x in held.items()}
    return next((name for name, x in wide.items() if x is not None and same(x, rest)), "")


def _broadcast(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array as it broadcasts to a shape, or ``None``."""
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        return None

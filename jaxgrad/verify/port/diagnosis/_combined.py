"""Two arrays combined by another operation, multiplied another way round, or added to a constant on one side only."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.port.diagnosis._rearranged import reordered
from jaxgrad.verify.report._records import Cause

__all__ = ["combined", "constant", "multiplied", "rolled"]

MOST_PLACES = 64
"""How many entries that may be the shifted first one are tried."""

MOST_OPERANDS = 10
"""How many arrays at hand are combined with one another, the latest first."""

OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "{a} plus {b}": lambda a, b: a + b,
    "{a} times {b}": lambda a, b: a * b,
    "{a} times 1 + {b}": lambda a, b: a * (1 + b),
    "{b} times 1 + {a}": lambda a, b: b * (1 + a),
    "{a} minus {b}": lambda a, b: a - b,
    "{b} minus {a}": lambda a, b: b - a,
    "{a} over {b}": lambda a, b: a / b,
    "the larger of {a} and {b}": np.maximum,
    "the mean of {a} and {b}": lambda a, b: (a + b) / 2,
}
"""What two arrays may be combined by."""


def combined(e: Evidence) -> list[Cause]:
    """Both sides combine the same two arrays, by another operation: a gate that is added, a shift that multiplies."""
    if e.want.shape != e.got.shape or e.want.ndim < 2:
        return []
    operands: dict[str, np.ndarray] = {}
    for name, x in e.sources.items():
        wide = _spread(x, e.want.shape)
        if wide is not None:
            operands.setdefault(name, wide)
    operands = dict(list(operands.items())[:MOST_OPERANDS])
    for a, b in itertools.combinations(operands, 2):
        with np.errstate(all="ignore"):
            made = {words: np.broadcast_to(run(operands[a], operands[b]), e.want.shape)
                    for words, run in OPERATIONS.items()}  # fmt: skip
        theirs = next((words for words, array in made.items() if same(array, e.want)), None)
        ours = next((words for words, array in made.items() if same(array, e.got)), None)
        if theirs and ours and theirs != ours:
            mine, its = ours.format(a=a, b=b), theirs.format(a=a, b=b)
            text = f"JAX computes {mine}, torch {its}."
            return [cause("operation", text, f"Compute {its}.", e.first.path, proven=True)]
    return []


def _spread(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array as it broadcasts to a shape: one row an example and one entry a channel, which lies last."""
    if x.ndim == 2 < len(shape) and x.shape == (shape[0], shape[-1]):
        return x.reshape(shape[0], *[1] * (len(shape) - 2), shape[-1])
    if x.ndim == len(shape) and all(n in (1, m) for n, m in zip(x.shape, shape, strict=True)):
        return x
    return None


def constant(e: Evidence) -> list[Cause]:
    """One side adds the same numbers to every example, as an identity is added to a transform."""
    if e.want.shape != e.got.shape or e.want.ndim < 2 or len(e.want) < 2:
        return []
    apart = e.want - e.got
    if not apart.any() or not same(np.broadcast_to(apart[:1], apart.shape), apart):
        return []
    for words, plain in (("torch", e.got), ("JAX", e.want)):
        for name, x in e.sources.items():
            if x.size == plain.size and same(x.reshape(plain.shape), plain):
                other = "JAX" if words == "torch" else "torch"
                text = f"{words} adds the same numbers to {name} in every example, {other} does not."
                return [cause("addend-missing", text, "Add them on both sides.", e.first.path, proven=True)]
    return []


def multiplied(e: Evidence) -> list[Cause]:
    """A matrix product of two arrays at hand, one of them transposed on one side only."""
    if e.want.shape != e.got.shape or e.want.ndim != 3:
        return []
    given = [(c.path, c.output) for c in e.before[::-1]] + [("the input", x) for c in e.around for x in c.inputs]
    held = {name: x for name, x in given if x is not None and x.ndim == 3 and x.dtype.kind == "f"}
    for a, b in itertools.permutations(list(held)[:MOST_OPERANDS], 2):
        made = dict(_products(a, held[a], b, held[b], e.want.shape))
        theirs = next((words for words, array in made.items() if same(array, e.want)), None)
        ours = next((words for words, array in made.items() if same(array, e.got)), None)
        if theirs and ours and theirs != ours:
            text = f"JAX computes {ours}, torch {theirs}."
            return [cause("axis-order", text, f"Compute {theirs}.", e.first.path, proven=True)]
    return []


def _products(a: str, x: np.ndarray, b: str, y: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the matrix products of two arrays of a shape, by their words."""
    for (left, u), (right, v) in itertools.product(
        ((a, x), (f"{a} transposed", x.swapaxes(1, 2))), ((b, y), (f"{b} transposed", y.swapaxes(1, 2)))
    ):
        if u.shape[0] == v.shape[0] and u.shape[2] == v.shape[1] and (*u.shape[:2], v.shape[2]) == shape:
            yield f"{left} @ {right}", u @ v


def rolled(e: Evidence) -> list[Cause]:
    """What is added to an array is shifted along one or two axes on one side, or rearranged otherwise."""
    if e.want.shape != e.got.shape:
        return []
    # a table of positions that the model holds is added behind a join
    own = {n: x for n, x in e.under().items() if x.dtype.kind == "f" and x.ndim == e.want.ndim and len(x) == 1 < x.size}
    shape = e.want.shape[1:]
    given = {n: x for n, x in e.sources.items() if x.shape == e.want.shape}
    for name, x in {**given, **{n: x for n, x in own.items() if x.shape[1:] == shape}}.items():
        added, other = e.want - x, e.got - x
        if not added.any() or not same(np.sort(added.ravel()), np.sort(other.ravel())):
            continue
        steps = _steps(added, other)
        if len(steps) == 1 and name in own:
            text = f"what {name} is added to is joined in another order along axis {steps[0][0]}."
            return [cause("concat-order", text, "", e.first.path, proven=True)]
        if steps:
            along = " and ".join(f"by {step} of {added.shape[axis]} along axis {axis}" for axis, step in steps)
            text = f"what JAX adds to {name} is shifted {along}."
            return [cause("shift", text, "", e.first.path, proven=True)]
        if told := reordered(added, other):
            return [cause(told[0], f"{told[1]} It is added to {name}.", told[2], e.first.path, proven=True)]
        text = f"what is added to {name} are torch's numbers in another order."
        fix = "Compare how either side reorders it."
        return [cause("axis-order", text, fix, e.first.path)]
    return []


def _steps(array: np.ndarray, shifted: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the axes along which an array is rolled, with the steps; nothing if it is not."""
    found = np.argwhere(np.isclose(array, shifted[(0,) * array.ndim], rtol=RECOGNISED, atol=0))
    for place in found[:MOST_PLACES]:
        steps = tuple((axis, int(-at % size)) for axis, (at, size) in enumerate(zip(place, array.shape, strict=True)))
        steps = tuple((axis, step) for axis, step in steps if step)
        if 0 < len(steps) <= 2:
            axes, by = zip(*steps, strict=True)
            if same(np.roll(array, by, axes), shifted):
                return steps
    return ()

"""Whether contenders compute the same thing, by the verifier's rule: float64 decides the definition, then rounding.

Contenders that do not agree are never timed. In float64 the relative L2 error of every leaf must stay below the
verifier's bound. At the dtype of the run, which is float32 or narrower, the error of every contender against the
float64 answer is counted in multiples of the errors that the others make there. Ours must keep within the verifier's
bound; a rival that is right in float64 may lose up to ten times as much, which is told beside its time. Who loses more
is compared with the others once more, from inputs that lie a unit of rounding away: of 262,144 rectifiers some stand so
near to their kink that one processor's rounding switches them and another's does not, which is no finding.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench._inputs import moved
from bench._phases import compiled_quickly
from bench._row import Contender, Problem
from jaxgrad.verify.judge import allowed_multiple, compare, floor_of, multiples, to_numpy, worst

__all__ = ["Agreement", "DisagreementError", "agree", "answers"]


COARSE = 10
"""How many times the verifier's bound a rival may lose to rounding: torch's double backward loses 14 where 10 is the
bound; products of 16 bits, which are another computation, lose thousands."""

MOVES = 8
"""How often the others are asked again, as in the verifier."""

UNITS = 16
"""Units of rounding by which the inputs are moved where a rival is accused, after one unit has not cleared it: fast
convolutions lose that much at each layer, and switch rectifiers that the others' rounding leaves."""


class DisagreementError(AssertionError):
    """Two contenders do not compute the same thing."""


@dataclass(frozen=True)
class Agreement:
    """What was found of contenders that agree."""

    rule: str
    """``verifier``, or ``row`` where the contenders are no two roads to one number."""
    float64_error: float | None
    """The largest relative error of a leaf in float64; ``None`` where nobody computes the row beside ours."""
    multiple: float | None
    """The largest error at the run's dtype, in multiples of the others' own."""
    relative: float | None
    """Where the row has a tolerance of its own: the largest relative error, in float64 too: where an iteration stops
    in float32 is a matter of its rounding."""
    coarse: Mapping[str, float] = field(default_factory=dict)
    """Rivals whose rounding is beyond the verifier's bound, with their multiples."""


def answers(contenders: Sequence[Contender]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what each contender computes, as NumPy by path, and for those that raise what went wrong."""
    found, broken = {}, {}
    for contender in contenders:
        try:
            found[contender.name] = to_numpy(contender.read(contender.run()))
        except Exception as error:  # a rival that breaks must not cost the row
            broken[contender.name] = in_a_line(error)
    return found, broken


def in_a_line(error: BaseException) -> str:
    """Return an error's name and first line; running out of memory is said in words."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0][:200]}"
    words = "RESOURCE_EXHAUSTED", "out of memory", "not enough memory", "allocate memory"
    spent = isinstance(error, MemoryError) or any(word in str(error) for word in words)
    return f"ran out of memory ({text})" if spent else text


def agree(
    problem: Problem,
    found: Mapping[str, Any],
    exact: Callable[[], Mapping[str, Any]],
    again: Callable[[int, int], Mapping[str, Any]],
    dtype: Any,
) -> Agreement:
    """Compare the contenders.

    Args:
        problem: The row, at the dtype of the run.
        found: By contender, its answer there; those that broke are missing.
        exact: Gives the same in float64.
        again: Gives the same at the dtype of the run, from inputs that a seed has moved by some units of rounding.
        dtype: The dtype of the run.

    Raises:
        DisagreementError: With the contender, the leaf, and by how much it differs.
    """
    ours = problem.contenders[0].name
    if ours not in found:
        message = f"{ours} gave no answer to compare with"
        raise DisagreementError(message)
    true = found if np.dtype(dtype) == np.float64 else exact()
    if ours not in true:
        message = f"{ours} gave no answer in float64 to compare with"
        raise DisagreementError(message)
    # what has no float64, such as a compiled form, must agree at the dtype of the run
    narrow = {name: answer for name, answer in found.items() if name not in true}
    if problem.agreement is not None:
        error = _within(true, ours, problem.agreement)
        half = math.sqrt(float(jnp.finfo(dtype).eps))  # of the digits
        _within({ours: found[ours], **narrow}, ours, max(problem.agreement, half))
        return Agreement("row", None, None, error)
    error = _within(true, ours, None)
    if true is found:
        return Agreement("verifier", error, None, None)
    lost = _rounding(found, {**true, **dict.fromkeys(narrow, true[ours])}, again, ours, dtype)
    coarse = {name: multiple for name, (multiple, over) in lost.items() if over > 1}
    largest = max(multiple for multiple, _ in lost.values()) if len(lost) > 1 else None
    return Agreement("verifier", error, largest, None, coarse)


def _within(found: Mapping[str, Any], ours: str, allowed: float | None) -> float | None:
    """Return the largest error of a rival's leaf against ours; ``None`` where there is no rival.

    ``allowed``: ``None`` is what the verifier allows in float64.
    """
    errors: list[float] = []
    for rival in found:
        if rival == ours:
            continue
        difference = worst(compare(found[rival], found[ours]))
        limit = difference.allowed if allowed is None else allowed
        if not difference.error <= limit:
            place = difference.path or "the value"
            said = difference.note or f"{difference.error:.2e}, allowed {limit:.0e}"
            stage = "in float64 " if allowed is None else ""
            message = f"{rival} and {ours} differ {stage}at {place}: {said}"
            raise DisagreementError(message)
        errors.append(difference.error)
    return max(errors, default=None)


def _rounding(
    found: Mapping[str, Any],
    true: Mapping[str, Any],
    again: Callable[[int, int], Mapping[str, Any]],
    ours: str,
    dtype: Any,
) -> dict[str, tuple[float, float]]:
    """Return by contender its largest error at a narrow dtype, in multiples of what the others lose there.

    Beside it, the largest of its multiples over what the verifier allows for the leaf.
    """
    lost, again = {}, functools.cache(again)
    for name, answer in found.items():
        others = [other for rival, other in found.items() if rival != name]
        exact = {path: leaf for path, leaf in true[name].items() if np.issubdtype(leaf.dtype, np.inexact)}
        wrong = [path for path in exact if path not in answer or answer[path].shape != exact[path].shape]
        if wrong:
            message = f"{name} has another shape at {wrong[0] or 'the value'} in {np.dtype(dtype).name} than in float64"
            raise DisagreementError(message)
        multiple, over, path = _most(answer, others, exact, dtype)
        most = 1 if name == ours else COARSE
        moves = [(1, 1)] if name == ours else [(1, 1), (UNITS, COARSE)]
        for units, bound in moves if others else ():
            for seed in range(MOVES):
                if over <= bound:
                    break
                others += [other for rival, other in again(seed, units).items() if rival != name and rival in found]
                multiple, over, path = _most(answer, others, exact, dtype)
        if not over <= most:
            allowed = most * allowed_multiple(exact[path].size)
            message = (
                f"{name} loses {multiple:.3g} times what the others lose in {np.dtype(dtype).name} at"
                f" {path or 'the value'}, allowed {allowed:g}"
            )
            raise DisagreementError(message)
        lost[name] = multiple, over
    return lost


def _most(
    answer: Mapping[str, Any], others: Sequence[Mapping[str, Any]], exact: Mapping[str, Any], dtype: Any
) -> tuple[float, float, str]:
    """Return the multiple of the worst leaf of an answer, that over what the verifier allows, and the leaf.

    Alone, a contender has none: there is nobody to compare it with.
    """
    counted = multiples(answer, others, exact, dtype, floor_of(exact.values())) if others else {}
    over = {path: multiple / allowed_multiple(exact[path].size) for path, multiple in counted.items()}
    # NaN is the most of all
    path = max(over, key=lambda path: math.inf if math.isnan(over[path]) else over[path], default="")
    return counted.get(path, 0.0), over.get(path, 0.0), path


def exactly(build: Callable[[Any], Problem]) -> Mapping[str, Any]:
    """Return the answers of the contenders of a problem that is built in float64; those that break there are left out.

    Args:
        build: Makes the problem for a dtype.
    """
    with jax.enable_x64(True), compiled_quickly():
        return answers(build(np.float64).contenders)[0]


def once_more(build: Callable[[Any], Problem], dtype: Any, seed: int, units: int) -> Mapping[str, Any]:
    """Return the answers of the contenders of a problem whose inputs are moved by some units of rounding.

    Args:
        build: Makes the problem for a dtype.
        dtype: The dtype of the run.
        seed: Of the moves.
        units: How far.
    """
    with moved(seed, units):
        return answers(build(dtype).contenders)[0]

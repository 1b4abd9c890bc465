"""The one matcher of causes: a computation with named settings is found on both sides, and what differs is the cause.

A `Family` is what a layer, or the code between two layers, may compute: a formula with settings that ports confuse.
The settings that reproduce the reference's numbers are searched first, from the usual ones; then those that reproduce
JAX's, from the reference's, with as few changes as will do. Where both are found, the changes are proven: to take them
back makes the difference vanish.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._known_functions import same

__all__ = ["Change", "Family", "Option", "changes", "fitted", "match"]

MOST_TRIED = 4000
"""How many settings of one family are tried at most on either side."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One value of a setting."""

    value: Any
    words: str
    """As it stands in a sentence: "JAX uses ...; torch uses ..."."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A setting in which JAX differs from torch."""

    setting: str
    theirs: Option
    ours: Option


@dataclasses.dataclass(frozen=True)
class Family:
    """A formula with settings."""

    compute: Callable[..., np.ndarray | None]
    """Called with the value of every setting by name; ``None`` where they do not go together."""
    settings: dict[str, tuple[Option, ...]]
    """Every setting with its options, the usual one first."""
    core: tuple[str, ...] = ()
    """Settings that are tried in all combinations on the reference's side: nothing is usual there."""
    tolerance: float = RECOGNISED
    most: int = MOST_TRIED
    """How many settings are tried at most on either side."""

    def attempt(self, chosen: dict[str, Option]) -> np.ndarray | None:
        """Return what a choice of settings computes, or ``None``."""
        with np.errstate(all="ignore"):
            try:
                return self.compute(**{name: option.value for name, option in chosen.items()})
            except (ValueError, RuntimeError, IndexError, ZeroDivisionError):
                return None

    def search(self, target: np.ndarray, start: dict[str, Option], *, broad: bool) -> dict[str, Option] | None:
        """Return the settings nearest to ``start`` that reproduce an array."""
        for count, chosen in enumerate(self._choices(start, broad=broad)):
            if count >= self.most:
                return None
            made = self.attempt(chosen)
            if made is not None and same(made, target, self.tolerance):
                return chosen
        return None

    def _choices(self, start: dict[str, Option], *, broad: bool) -> Any:
        """Yield settings: the start, those with one change, and with two; all combinations of the core if broad."""
        yield start
        others = {n: [o for o in options if o is not start[n]] for n, options in self.settings.items()}
        for name, options in others.items():
            yield from ({**start, name: option} for option in options)
        if broad and self.core:
            spans = [self.settings[name] for name in self.core]
            yield from ({**start, **dict(zip(self.core, chosen, strict=True))} for chosen in itertools.product(*spans))
        for a, b in itertools.combinations(others, 2):
            for x, y in itertools.product(others[a], others[b]):
                yield {**start, a: x, b: y}


Chosen = dict[str, Option]


def fitted(
    family: Family, want: np.ndarray, got: np.ndarray, start: Chosen | None = None
) -> tuple[Chosen, Chosen] | None:
    """Return the settings of torch and of JAX; ``None`` if either side is not of the family."""
    start = start or {name: options[0] for name, options in family.settings.items()}
    theirs = family.search(want, start, broad=True)
    if theirs is None:
        return None
    ours = family.search(got, theirs, broad=False)
    return None if ours is None else (theirs, ours)


def changes(theirs: Chosen, ours: Chosen) -> list[Change]:
    """Return in which settings JAX differs from torch."""
    return [Change(name, theirs[name], ours[name]) for name in theirs if theirs[name] is not ours[name]]


def match(family: Family, want: np.ndarray, got: np.ndarray, start: Chosen | None = None) -> Sequence[Change] | None:
    """Return in which settings JAX differs from torch; ``None`` if either side is not of the family."""
    both = fitted(family, want, got, start)
    return None if both is None else changes(*both)

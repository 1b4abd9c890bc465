"""What a case is: quantities computed in both frameworks, and criteria measured in one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CASES", "EXTENSIONS", "Case", "Criterion", "Quantity", "build_all", "case", "extend"]


@dataclass(frozen=True)
class Quantity:
    """One result that both frameworks compute from the same numbers."""

    name: str
    """What is compared, in a few words: ``H r, weights only``."""
    jax: Callable[[], Any]
    """Computes our tree; called twice, so that the second call shows its time without compilation."""
    torch: Callable[[], Any]
    """Computes the reference's tree, with the paths and shapes of ours."""
    truth: Any = None
    """The closed form, a tree of NumPy arrays or numbers, where there is one."""


@dataclass(frozen=True)
class Criterion:
    """A measured fact that is no comparison of trees: a PSNR, a loss that fell, a ratio of times."""

    name: str
    """What is measured, in a few words."""
    measure: Callable[[], tuple[bool, str]]
    """Returns whether the criterion holds, and the measured figure in words."""
    draw: Callable[[Any], None] | None = None
    """Draws the picture that shows it on an empty ``matplotlib.figure.Figure``; called after ``measure``, and only
    where pictures are asked for (``jaxgrad verify --figures DIR`` saves it)."""


@dataclass(frozen=True)
class Case:
    """One row of the table of cases."""

    id: str
    """Its id, such as ``S1``."""
    title: str
    """What it computes, in a line."""
    build: Callable[[np.dtype], list[Quantity | Criterion]]
    """Draws the inputs, the same for every dtype, casts them, and returns what to compare.

    Criteria are taken from the float64 build alone.
    """


CASES: dict[str, Case] = {}
"""Every case by its id, in the order of definition."""

EXTENSIONS: dict[str, list[Callable[[np.dtype], list[Quantity | Criterion]]]] = {}
"""Further builds of a case, from other modules than its own."""

Build = Callable[[np.dtype], list[Quantity | Criterion]]


def case(id: str, title: str) -> Callable[[Build], Build]:  # noqa: A002 - the field's word for S1, N3, ...
    """Register a function as the build of a case.

    Raises:
        ValueError: If the id is taken.
    """

    def register(build: Build) -> Build:
        if id in CASES:
            message = f"two cases are called {id}"
            raise ValueError(message)
        CASES[id] = Case(id, title, build)
        return build

    return register


def extend(id: str) -> Callable[[Build], Build]:  # noqa: A002 - as in `case`
    """Register a function as a further build of a case: the same computation on other input."""

    def register(build: Build) -> Build:
        EXTENSIONS.setdefault(id, []).append(build)
        return build

    return register


def build_all(case: Case, dtype: np.dtype) -> list[Quantity | Criterion]:
    """Return everything that a case compares, its extensions last."""
    return [item for build in (case.build, *EXTENSIONS.get(case.id, ())) for item in build(dtype)]

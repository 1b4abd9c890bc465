"""The initial weights of a SIREN (Sitzmann et al. 2020, section 3.2)."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["bounds", "uniform"]


def bounds(sizes: tuple[int, ...], omega: float) -> list[tuple[float, float]]:
    """Return the largest weight and the largest bias of every layer."""
    weights = [1 / n if i == 0 else (6 / n) ** 0.5 / omega for i, n in enumerate(sizes[:-1])]
    return [(weight, n**-0.5) for weight, n in zip(weights, sizes[:-1], strict=True)]


def uniform(bound: float) -> Callable[..., Any]:
    """Return an initialiser that draws uniformly from ``[-bound, bound]``."""

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw

"""The initial weights of the networks that are fields: of a SIREN (Sitzmann et al. 2020, section 3.2), and the others.

Every law is a list with the draws of each layer, the first layer's first.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad._types import Array

__all__ = [
    "Draws",
    "between",
    "bounds",
    "finer_layers",
    "glorot_layers",
    "normal",
    "plain_layers",
    "rayleigh",
    "sinusoid_draws",
    "siren_layers",
    "uniform",
]

Draw = Callable[..., Any]


class Draws(NamedTuple):
    """How one layer's numbers are drawn, each by ``draw(key, shape, dtype)``."""

    kernel: Draw
    bias: Draw


def bounds(sizes: tuple[int, ...], omega: float) -> list[tuple[float, float]]:
    """Return the largest weight and the largest bias of every layer of a SIREN whose hidden layers have ``omega``."""
    weights = [1 / n if i == 0 else (6 / n) ** 0.5 / omega for i, n in enumerate(sizes[:-1])]
    return [(weight, n**-0.5) for weight, n in zip(weights, sizes[:-1], strict=True)]


def uniform(bound: float) -> Draw:
    """Return an initialiser that draws uniformly from ``[-bound, bound]``."""

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def normal(deviation: float) -> Draw:
    """Return an initialiser that draws from a normal distribution about 0."""

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Any:
        return deviation * jax.random.normal(key, shape, dtype)

    return draw


def rayleigh(scale: float) -> Draw:
    """Return an initialiser that draws a Rayleigh distribution's numbers with either sign.

    Times the sine of a phase that is drawn uniformly from a turn, such a number is normally distributed with the
    deviation ``scale``: the two are the radius and the angle of a pair of normal numbers.
    """

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Any:
        size, sign = jax.random.split(key)
        # -log of a uniform number is exponential, and the root of twice that is Rayleigh; 1 - u is never 0
        radius = jnp.sqrt(-2 * jnp.log1p(-jax.random.uniform(size, shape, dtype)))
        return scale * radius * jax.random.rademacher(sign, shape).astype(dtype)

    return draw


def between(low: float, high: float) -> Draw:
    """Return an initialiser that draws uniformly from ``[low, high]``."""

    def draw(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, low, high)

    return draw


def zeros(key: Any, shape: tuple[int, ...], dtype: Any, **_: Any) -> Array:
    """Return zeros."""
    del key
    return jnp.zeros(shape, dtype)


def sinusoid_draws(terms: int, omega: float) -> dict[str, Draw]:
    """Return the law of a sum of sines that is standard normal, whatever its input (Morabbi et al. 2025, theorem 3).

    Each term is normal with the variance ``1 / terms``, since its phase is uniform; the terms are independent.
    """
    return {
        "amplitudes": rayleigh(terms**-0.5),
        "frequencies": between(0, omega),
        "phases": uniform(math.pi),
    }


def siren_layers(sizes: tuple[int, ...], omega: float) -> list[Draws]:
    """Return the law that keeps each sine's input standard normal, whatever the depth (Sitzmann et al. 2020, 3.2)."""
    return [Draws(uniform(weight), uniform(bias)) for weight, bias in bounds(sizes, omega)]


def finer_layers(sizes: tuple[int, ...], omega: float, first_bias: float) -> list[Draws]:
    """Return a SIREN's law with the first bias drawn from a wider interval (Liu et al. 2024, section 3.3)."""
    first, *rest = siren_layers(sizes, omega)
    return [first._replace(bias=uniform(first_bias)), *rest]


def plain_layers(sizes: tuple[int, ...]) -> list[Draws]:
    """Return the law of torch's linear layers, ``U(-1/sqrt(n), 1/sqrt(n))``, which the papers in torch leave as it is.

    Gaussian fields (Ramasinghe and Lucey 2022) and WIRE (Saragadam et al. 2023) are drawn by it.
    """
    return [Draws(uniform(n**-0.5), uniform(n**-0.5)) for n in sizes[:-1]]


def glorot_layers(sizes: tuple[int, ...]) -> list[Draws]:
    """Return the law of Glorot and Bengio (2010, equation 16), with biases of 0.

    It is that of Mildenhall's and of Müller's code, and but for the form of the distribution of Tancik's. A layer of
    ReLUs halves the mean square: such a field starts smooth. He's law, which keeps it, starts with noise to be undone,
    and is 3 dB behind after 200 steps.
    """
    return [Draws(uniform(math.sqrt(6 / (a + b))), zeros) for a, b in itertools.pairwise(sizes)]

"""What the networks that are fields do with an array, for both APIs of Flax: activations and encodings.

A field takes points of shape ``(..., d)`` and treats every one by itself. Each function here has derivatives of every
order, but for the kinks that its docstring names.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _tree, inr
from jaxgrad._types import Array

__all__ = [
    "check_sizes",
    "complex_layer",
    "finer",
    "fourier_features",
    "gabor",
    "gaussian",
    "octaves",
    "octaves_size",
    "omegas",
    "points_of",
    "sinusoids",
    "wave",
]


def check_sizes(sizes: tuple[int, ...], *, least: int = 3) -> None:
    """Refuse sizes that make no network.

    Raises:
        ValueError: If there are fewer than ``least`` of them, or one is no positive integer.
    """
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes)
    if len(sizes) < least or not whole:
        hidden = ", hidden layers" * (least > 2)
        message = f"sizes must be positive integers, (coordinates{hidden}, channels), as in (2, 64, 64, 3); got {sizes}"
        raise ValueError(message)


def points_of(points: Any, coordinates: int) -> Array:
    """Return points in float32 at the least: between -1 and 1, bfloat16 cannot tell 300 pixels apart.

    Raises:
        ValueError: If the last axis is not that of the coordinates.
        TypeError: If the points are no real floating-point array.
    """
    _check.floating(points=points)
    if jnp.ndim(points) == 0 or jnp.shape(points)[-1] != coordinates:
        message = (
            f"points must have shape (..., {coordinates}), for sizes starts with {coordinates};"
            f" got {_check.describe(points)}"
        )
        raise ValueError(message)
    return _tree.widened(jnp.asarray(points))


def omegas(
    sizes: tuple[int, ...], omega: float, first_omega: float | None, hidden_omega: float | None
) -> tuple[float, ...]:
    """Return the frequency of every layer of a SIREN but the last, and once more that of its hidden layers.

    Raises:
        ValueError: If the sizes make no network.
    """
    check_sizes(sizes, least=2)
    first, hidden = (omega if given is None else given for given in (first_omega, hidden_omega))
    return (first, *[hidden] * (len(sizes) - 2))


def wave(x: Array, omega: float) -> Array:
    r"""Return :math:`\sin \omega x` (Sitzmann et al. 2020, section 3.2)."""
    return inr.sine(omega * x)


def fourier_features(points: Array, frequencies: Array) -> Array:
    r"""Return :math:`(\cos 2 \pi B^T p, \sin 2 \pi B^T p)` (Tancik et al. 2020, section 5).

    The product is taken in full precision: what an accelerator's quick product rounds off a large phase is noise.
    """
    phase = 2 * math.pi * jnp.matmul(points, frequencies.astype(points.dtype), precision="highest")
    sine, cosine = inr.sine_cosine(phase)
    return jnp.concatenate([cosine, sine], axis=-1)


def octaves_size(coordinates: int, count: int) -> int:
    """Return how many features `octaves` makes of a point."""
    return coordinates * (1 + 2 * count)


def octaves(points: Array, count: int) -> Array:
    r"""Return :math:`(p, \sin 2^k \pi p, \cos 2^k \pi p)_{k < count}` (Mildenhall et al. 2020, equation 4, and p).

    The waves alone have period 2: they cannot tell -1 from 1, one border of a picture from the other. Both Mildenhall's
    and Sitzmann's code hand on the points beside them, and so does this.
    """
    phase = jnp.concatenate([points * (2.0**k * math.pi) for k in range(count)], axis=-1)
    return jnp.concatenate([points, *inr.sine_cosine(phase)], axis=-1)


def gaussian(x: Array, sigma: float) -> Array:
    r"""Return :math:`\exp(-x^2 / 2 \sigma^2)` (Ramasinghe and Lucey 2022, table 1)."""
    return jnp.exp(-0.5 * jnp.square(x / sigma))


def gabor(real: Array, imag: Array | None, omega: float, scale: float) -> tuple[Array, Array]:
    r"""Return the real and the imaginary part of :math:`e^{i \omega z - |s z|^2}` (Saragadam et al. 2023, equation 4).

    With :math:`z = a + i b` that is :math:`e^{-\omega b - s^2 (a^2 + b^2)} (\cos \omega a + i \sin \omega a)`: real
    numbers alone, which have the gradient that one expects. JAX's gradient by a complex number is the conjugate of the
    way up, and plain descent along it climbs.
    """
    exponent = -jnp.square(scale * real)
    if imag is not None:
        exponent = exponent - jnp.square(scale * imag) - omega * imag
    size = jnp.exp(exponent)
    sine, cosine = inr.sine_cosine(omega * real)
    return size * cosine, size * sine


def complex_layer(
    times_real: Callable[[Array], Array],
    times_imag: Callable[[Array], Array],
    real_bias: Array,
    imag_bias: Array,
    real: Array,
    imag: Array,
) -> tuple[Array, Array]:
    """Return the two parts of ``(A + i B)(real + i imag) + real_bias + i imag_bias``, from the products by A and B."""
    row = (1,) * (real.ndim - 1) + (-1,)
    first = times_real(real) - times_imag(imag)
    second = times_real(imag) + times_imag(real)
    biases = (bias.astype(first.dtype).reshape(row) for bias in (real_bias, imag_bias))
    return first + next(biases), second + next(biases)


def finer(x: Array, omega: float) -> Array:
    r"""Return :math:`\sin(\omega (|x| + 1) x)` (Liu et al. 2024, equation 5).

    Differentiated as it stands, the scale :math:`|x| + 1` too; the authors' code computes it without a gradient, so
    its coordinate derivatives are not those of its values. The second derivative jumps where ``x`` is 0.
    """
    return inr.sine(omega * ((jnp.abs(x) + 1) * x))


def sinusoids(x: Array, amplitudes: Array, frequencies: Array, phases: Array) -> Array:
    r"""Return :math:`\sum_i C_i \sin(\Omega_i x + \Phi_i)` (Morabbi et al. 2025, equation 2)."""
    total = jnp.zeros_like(x)
    for i in range(len(amplitudes)):
        total = total + amplitudes[i] * inr.sine(frequencies[i] * x + phases[i])
    return total

"""The sine, with a float32 form for the CPU, where XLA's own takes most of a SIREN's time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array

__all__ = ["sine"]


@jit()
def sine(x: ArrayLike) -> Array:
    r"""Return the sine of every entry: on a CPU, in float32, ten times faster than ``jnp.sin``, or more.

    The argument is brought to a quarter wave about a multiple of :math:`\pi / 2`, where short polynomials suffice:

    .. math:: n = \text{round}(2 x / \pi), \qquad r = x - n \pi / 2, \qquad
              \sin x = \pm \begin{cases} \sin r & n \text{ even} \\ \cos r & n \text{ odd} \end{cases}

    float64, and every other platform, get ``jnp.sin``. The derivatives are the cosine and the sine of the same kind,
    to any order.

    Args:
        x: Floating-point array, of any shape.

    Returns:
        The sine, with the shape and dtype of ``x``. In float32 the error is at most 1e-7 for :math:`|x| \le 10^5`;
        beyond, at most :math:`10^{-7} + 2^{-23} |x|`, what a change of ``x`` in its last digit makes.

    Raises:
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        About 20 multiplications and additions an entry on a CPU in float32: hardly more than reading ``x``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> round(jaxgrad.inr.sine(jnp.pi / 6).item(), 6)
        0.5

    References:
        Cody and Waite (1980), Software manual for the elementary functions, chapter 8: the reduction by a multiple of
        pi in parts. The polynomials are minimax fits by the exchange algorithm of Remez (1934).
    """
    _check.floating(x=x)
    return _sine(jnp.asarray(x))


@jax.custom_jvp
def _sine(x: Array) -> Array:
    """Return the sine, by the quick form where it applies."""
    return lax.platform_dependent(x, cpu=_quick_sine, default=jnp.sin) if x.dtype.itemsize <= 4 else jnp.sin(x)


@jax.custom_jvp
def _cosine(x: Array) -> Array:
    """Return the cosine, by the quick form where it applies."""
    return lax.platform_dependent(x, cpu=_quick_cosine, default=jnp.cos) if x.dtype.itemsize <= 4 else jnp.cos(x)


_sine.defjvps(lambda tangent, _, x: tangent * _cosine(x))
_cosine.defjvps(lambda tangent, _, x: -tangent * _sine(x))

# pi / 2 in three parts; the first two have 8 bits, so that their products with n < 2**16 are exact
HALF_PI = tuple(map(np.float32, (201 / 128, 253 / 524288, 1.2675908e-06)))
TURNS = np.float32(2 / np.pi)

# for |r| <= 0.8, z = r^2: sin r = r + r z (a + b z + c z^2) within 5e-9, cos r = 1 - z / 2 + z^2 (...) within 6e-10
SINE = tuple(map(np.float32, (-0.16666649, 0.008331875, -0.00019482775)))
COSINE = tuple(map(np.float32, (0.041666646, -0.0013887251, 2.4424924e-05)))


def _quick_sine(x: Array) -> Array:
    """Return the sine, computed in float32."""
    quarter, turn = _reduce(x)
    return _wave(quarter, turn).astype(x.dtype)


def _quick_cosine(x: Array) -> Array:
    """Return the cosine, computed in float32: a sine a quarter turn ahead."""
    quarter, turn = _reduce(x)
    return _wave(quarter + 1, turn).astype(x.dtype)


def _reduce(x: Array) -> tuple[Array, Array]:
    """Return the nearest multiple of pi / 2, as an integer, and the rest of the argument."""
    x = x.astype(jnp.float32)
    multiple = jnp.round(x * TURNS)
    for part in HALF_PI:
        x = x - multiple * part
    # far out, where neighbouring numbers are more than a turn apart, the rest is noise: it must not blow up
    return multiple.astype(jnp.int32), jnp.clip(x, np.float32(-1), np.float32(1))


def _wave(quarter: Array, rest: Array) -> Array:
    """Return the sine of ``quarter`` quarter turns and a rest."""
    z, one, half = rest * rest, np.float32(1), np.float32(0.5)
    sine = rest + rest * z * (SINE[0] + z * (SINE[1] + z * SINE[2]))
    cosine = one - half * z + z * z * (COSINE[0] + z * (COSINE[1] + z * COSINE[2]))
    wave = jnp.where(quarter & 1 == 1, cosine, sine)
    return jnp.where(quarter & 2 == 2, -wave, wave)

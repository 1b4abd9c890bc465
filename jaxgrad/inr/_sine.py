"""The sine, with a float32 form for the CPU, where XLA's own takes most of a SIREN's time."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.inr._sine_cosine import waves

__all__ = ["sine"]


@jit()
def sine(x: ArrayLike) -> Array:
    r"""Return the sine of every entry: on a CPU, in float32, ten times faster than ``jnp.sin``, or more.

    The argument is brought to the half wave about the nearest multiple of :math:`\pi`, where a short polynomial does:

    .. math:: n = \text{round}(x / \pi), \qquad \sin x = (-1)^n \sin(x - n \pi)

    float64, and every other platform, get ``jnp.sin``. The derivatives, to any order, are the cosine and the sine of
    `sine_cosine`.

    Args:
        x: Floating-point array, of any shape.

    Returns:
        The sine, with the shape and dtype of ``x``. In float32 the error is at most 1.3e-7 for :math:`|x| \le 10^5`;
        beyond, at most :math:`1.3 \cdot 10^{-7} + 2^{-23} |x|`, what a change of ``x`` in its last digit makes.

    Raises:
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        About 30 operations an entry on a CPU in float32, 20 instructions for 8 entries: hardly more than reading ``x``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> round(jaxgrad.inr.sine(jnp.pi / 6).item(), 6)
        0.5

    References:
        Cody and Waite (1980), Software manual for the elementary functions, chapter 8: the reduction by a multiple of
        pi in parts. The polynomial is a minimax fit by the weights of Lawson (1961), its last digits moved so that it
        has the smallest error of those that never round to more than 1.
    """
    _check.floating(x=x)
    return waves(jnp.asarray(x))[0]

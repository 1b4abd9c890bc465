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

    The argument is brought to a quarter wave about a multiple of :math:`\pi / 2`, where short polynomials suffice:

    .. math:: n = \text{round}(2 x / \pi), \qquad r = x - n \pi / 2, \qquad
              \sin x = \pm \begin{cases} \sin r & n \text{ even} \\ \cos r & n \text{ odd} \end{cases}

    float64, and every other platform, get ``jnp.sin``. The derivatives, to any order, are the cosine and the sine of
    `sine_cosine`, from the same reduction.

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
    return waves(jnp.asarray(x))[0]

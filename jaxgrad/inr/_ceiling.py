"""How well a picture can be recovered from its targets at all."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.inr._engine import _waves
from jaxgrad.inr._image_targets import ImageTargets
from jaxgrad.inr._psnr import psnr

__all__ = ["ceiling"]


@jit("shape", "match")
def ceiling(
    targets: ImageTargets,
    *,
    shape: tuple[int, int],
    match: Literal["gradient", "laplacian"] = "gradient",
) -> Array:
    r"""Return the PSNR that a perfect fit to the targets would have, mean-aligned, in decibels.

    Of all sums of cosines that the grid can hold, going on evenly beyond its edges, it takes the one whose derivatives
    at the grid's points are nearest to the targets in least squares over both axes, or whose Laplacian is the target,

    .. math:: a_{kl} = \frac{\omega_k p_{kl} + \omega_l q_{kl}}{\omega_k^2 + \omega_l^2}
              \qquad\text{or}\qquad a_{kl} = \frac{-r_{kl}}{\omega_k^2 + \omega_l^2},

    with :math:`-p` and :math:`-q` the amplitudes of the sines in the two derivatives, and :math:`r` those of the
    cosines in the Laplacian; and compares its values with those of the targets, as `psnr` does with ``align="mean"``.
    A fit beyond its ceiling has not matched its targets; one at its ceiling needs better ones.

    Args:
        targets: An `ImageTargets` on a grid, row by row: of `image_targets` or `refined_targets`, or your own.
        shape: Rows and columns of the grid, ``(H, W)``, at least 2 x 2.
        match: ``"gradient"`` or ``"laplacian"``: what is fitted.

    Returns:
        The ratio, of shape ``()``, in the dtype of the targets, float32 at the least; NaN where a target is. Of
        ``"spectral"`` targets only rounding is left: in float64 more than 280, in float32 more than 120 by gradient
        and 110 by Laplacian, whose rounding weighs most at the lowest waves.

    Raises:
        ValueError: If ``shape`` is no pair of at least 2 x 2 or has another number of points than the targets, or
            ``match`` is unknown.
        TypeError: If a target is no real floating-point array, or ``shape`` no pair of Python integers.

    Cost:
        About ``6 (H + W)`` multiplications and additions an entry of the picture; ``4 (H + W)`` by Laplacian.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> stripes = jnp.tile(jnp.array([0.0, 1.0, 1.0, 0.0]), (4, 2))
        >>> targets = jaxgrad.inr.image_targets(stripes)
        >>> round(jaxgrad.inr.ceiling(targets, shape=(4, 8)).item(), 1)
        14.8

    References:
        Frankot and Chellappa (1988), A method for enforcing integrability in shape from shading algorithms, IEEE
        Transactions on Pattern Analysis and Machine Intelligence 10; Simchony, Chellappa and Shao (1990), Direct
        analytical methods for solving Poisson equations in computer vision problems, the same journal, 12.
    """
    _check.choice(match, "match", ("gradient", "laplacian"))
    height, width = _grid_of(targets, shape)
    points, values, gradients, laplacians = (
        leaf.reshape(height, width, *leaf.shape[1:])
        for leaf in jax.tree.map(_sharding.gathered, _tree.widened(targets))
    )
    # over the whole width: the difference of two neighbours would keep few digits
    steps = (points[-1, 0, 1] - points[0, 0, 1]) / (height - 1), (points[0, -1, 0] - points[0, 0, 0]) / (width - 1)
    y, x = (
        _waves.frequencies(size, step, i, values)
        for i, (size, step) in enumerate(zip((height, width), steps, strict=True))
    )
    if match == "gradient":
        p = _waves.sines(_waves.cosines(gradients[..., 0], 0), 1)
        q = _waves.sines(_waves.cosines(gradients[..., 1], 1), 0)
        wanted = x * p + y * q
    else:
        wanted = _waves.cosines(_waves.cosines(laplacians, 0), 1)
    power = x**2 + y**2
    found = -wanted / jnp.where(power > 0, power, jnp.inf)  # the constant is not known, and is aligned
    picture = _waves.at_cosines(_waves.at_cosines(found, 0, height), 1, width)
    return psnr(picture.reshape(-1, values.shape[-1]), values.reshape(-1, values.shape[-1]), align="mean")


def _grid_of(targets: Any, shape: Any) -> tuple[int, int]:
    """Return the rows and columns of a grid that has as many points as the targets.

    Raises:
        ValueError: If ``shape`` is no pair of at least 2 x 2, or has another number of points than the targets.
        TypeError: If the targets are no `ImageTargets` of floating-point arrays, or ``shape`` no integers.
    """
    if not isinstance(targets, ImageTargets):
        message = f"targets must be an ImageTargets; got {_check.describe(targets)}: write inr.image_targets(image)"
        raise TypeError(message)
    _check.floating(**{f"targets.{name}": leaf for name, leaf in targets._asdict().items()})
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        message = f"shape must be the pair (rows, columns) of the grid; got {shape!r}"
        raise ValueError(message)
    height, width = (_check.count(size, f"shape[{i}]", least=2) for i, size in enumerate(shape))
    number, wanted = height * width, {"points": (2,), "values": (-1,), "gradients": (-1, 2), "laplacians": (-1,)}
    channels = jnp.shape(targets.values)[-1] if jnp.ndim(targets.values) else 1
    lines = [
        f"targets.{name}: got {_check.describe(leaf)}, expected ({', '.join(map(str, (number, *want)))})"
        for (name, leaf), tail in zip(targets._asdict().items(), wanted.values(), strict=True)
        if jnp.shape(leaf) != (number, *(want := tuple(channels if size == -1 else size for size in tail)))
    ]
    _check.complain(ValueError, f"targets must be those of a grid of shape={(height, width)}, row by row:", lines)
    return height, width

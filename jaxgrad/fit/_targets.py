"""A picture's targets: the pool that a fit draws from, those at the pixels, and how far they can lead."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgrad import inr
from jaxgrad.fit._settings import FACTOR, REFINED, Settings, edges

__all__ = ["Targets", "at_pixels", "edges_of", "pool_of", "targets_of"]


class Targets(NamedTuple):
    """What a picture is fitted by."""

    points: Any
    values: Any
    """At every point of the pool, ``(N, C)``."""
    wanted: Any
    """What is matched there: the values, ``(N, C)``, the gradients ``(N, C, 2)`` or the Laplacians ``(N, C)``."""
    pixels: Any
    """An `jaxgrad.inr.ImageTargets` at the pixels."""
    ceiling: float
    """In decibels, of a perfect fit; infinite where values are matched."""


def targets_of(values: Any, settings: Settings) -> Targets:
    """Return the targets of a picture of ``(H, W, C)``."""
    pixels, pool = at_pixels(values, settings.targets), pool_of(values, settings.targets)
    ceiling = math.inf
    match: Any = settings.match
    if match != "value":
        ceiling = float(inr.ceiling(pixels, shape=values.shape[:2], match=match))
    wanted = {"value": pool.values, "gradient": pool.gradients, "laplacian": pool.laplacians}[match]
    return Targets(np.asarray(pool.points), np.asarray(pool.values), np.asarray(wanted), pixels, ceiling)


def at_pixels(values: Any, method: Any) -> Any:
    """Return the targets at the pixels, in float32."""
    image = jnp.asarray(values, jnp.float32)
    return inr.image_targets(image, method=method, channels=image.shape[-1])


def edges_of(size: tuple[int, int]) -> tuple[Any, Any]:
    """Return points along the edges of a picture, as fine as the pool, and their normals, each of ``(N, 2)``.

    The Laplacian knows nothing of harmonic functions, such as a ramp; the even field that it was made from has no slope
    across its edges, which leaves the constant alone.
    """
    height, width = size
    ends, sides = edges(size), []
    for axis, count in ((0, height), (1, width)):
        along = ends[1 - axis] * ((2 * np.arange(FACTOR * count) + 1) / (FACTOR * count) - 1)
        for sign in (-1, 1):
            side = np.empty((len(along), 2))
            side[:, axis], side[:, 1 - axis] = sign * ends[axis], along
            sides.append((side, np.broadcast_to(np.eye(2)[axis], side.shape)))
    points, normals = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return points, normals


def pool_of(values: Any, method: Any) -> Any:
    """Return the targets at the points that a fit draws from: between the pixels too, where the method gives them.

    A field that is fitted at the pixels alone is free between them: it reaches a loss of 1e-7 there, and 22 dB.
    """
    if method not in REFINED:
        return at_pixels(values, method)
    image = jnp.asarray(values, jnp.float32)
    return inr.refined_targets(image, factor=FACTOR, method=method, channels=image.shape[-1])

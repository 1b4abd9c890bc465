"""How near a fit is to its picture."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad import inr

__all__ = ["measures", "relative", "ssim"]

WINDOW = 7
"""Pixels along a side of the window of SSIM."""


def measures(fit: Any, target: Any, fit_gradient: Any, target_gradient: Any) -> dict[str, float]:
    """Return the ratios as it stands, after mean and after affine alignment, SSIM and the gradient's relative error."""
    found, wanted = (jnp.asarray(picture, jnp.float32) for picture in (fit, target))
    ratios = {f"psnr_{name}": float(inr.psnr(found, wanted, align=name)) for name in ("none", "mean", "affine")}
    return ratios | {"ssim": ssim(fit, target), "gradient_error": relative(fit_gradient, target_gradient)}


def ssim(fit: Any, target: Any) -> float:
    """Return the structural similarity of two pictures with the range 1; NaN where they are smaller than its window."""
    from skimage.metrics import structural_similarity

    if min(target.shape[:2]) < WINDOW:
        return float("nan")
    pair = (np.asarray(picture, np.float64) for picture in (fit, target))
    return float(structural_similarity(*pair, win_size=WINDOW, data_range=1.0, channel_axis=-1))


def relative(found: Any, wanted: Any) -> float:
    """Return the L2 error in parts of the L2 norm of what is wanted; NaN where that is 0."""
    norm = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(np.asarray(found) - np.asarray(wanted))) / norm if norm else float("nan")

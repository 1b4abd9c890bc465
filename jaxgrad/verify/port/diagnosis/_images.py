"""Pools and resizing: the code between two layers makes another image of the same one."""

import itertools
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven_here
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["pool", "resize"]


def pool(e: Evidence) -> list[Cause]:
    """Maximum against mean, padding counted or not, the border."""
    import torch

    if e.lone is None or "Pool" not in e.lone.kind or e.lone.inputs[0] is None or e.lone.inputs[0].ndim != 4:
        return []
    f, x = torch.nn.functional, torch.from_numpy(e.lone.inputs[0].copy())
    module = dict(e.bound.torch.module.named_modules())[e.lone.path]
    size, stride = getattr(module, "kernel_size", 2), getattr(module, "stride", 2)
    pad = getattr(module, "padding", 0)
    target = _laid_like(e.got, e.lone.output)
    for name, words, run in (
        ("pool-kind", "takes the mean", lambda: f.avg_pool2d(x, size, stride, pad)),
        ("pool-count", "leaves the padding out of the mean",
         lambda: f.avg_pool2d(x, size, stride, pad, count_include_pad=False)),
        ("pool-kind", "takes the maximum", lambda: f.max_pool2d(x, size, stride, pad)),
        ("pool-kind", "takes the maximum of everything", lambda: x.amax((2, 3), keepdim=True)),
    ):  # fmt: skip
        try:
            made = run().numpy()
        except RuntimeError:
            continue
        if target is not None and (same(made, target) or same(made.reshape(len(made), -1), e.got)):
            return proven_here(e, name, f"the pool of JAX {words}; torch's is {module}.", "Pool alike.")
    return []


def _laid_like(array: np.ndarray, like: Any) -> np.ndarray | None:
    """Return an array of channels last in torch's layout."""
    if like is None or array.ndim != like.ndim:
        return None if like is None or array.size != like.size else array.reshape(like.shape)
    moved = np.moveaxis(array, -1, 1) if array.ndim == 4 else array
    return moved if moved.shape == like.shape else array


def resize(e: Evidence) -> list[Cause]:
    """Interpolation: antialiasing, corners, the cubic kernel, pixel centres."""
    import jax
    import torch

    for name, source in e.sources.items():
        if source.ndim != 4 or e.got.ndim != 4 or source.shape == e.got.shape:
            continue
        # an image before its resizing keeps torch's layout, for nothing of JAX's has its size
        for image, (want, got) in itertools.product(
            _channels_first(source), zip(*map(_channels_first, (e.want, e.got)), strict=True)
        ):
            if image.shape[:2] != want.shape[:2] or want.shape != got.shape:
                continue
            x, size = torch.from_numpy(image.copy()), want.shape[2:]
            theirs = [
                f"{mode}{', align_corners' if corners else ''}"
                for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")
                for corners in ((False, True) if mode.startswith("bi") else (None,))
                if same(torch.nn.functional.interpolate(x, size, mode=mode, align_corners=corners).numpy(), want)
            ]
            ours = [
                f"{mode}, antialias={anti}"
                for mode, anti in itertools.product(("nearest", "linear", "cubic"), (True, False))
                if same(np.asarray(jax.image.resize(image, (*image.shape[:2], *size), mode, antialias=anti)), got)
            ]
            if theirs and ours:
                text = f"torch interpolates {name} by {theirs[0]}, JAX by jax.image.resize with {ours[0]}."
                return proven_here(e, "interpolation", text, "Use antialias=False, and write corners and kernels out.")
    return []


def _channels_first(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an image as it would be with its channels first: they may lie there, or last."""
    return image, np.moveaxis(image, -1, 1)

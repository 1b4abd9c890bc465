"""Pools and resizing: the code between two layers makes another image of the same one."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven_here
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["pool", "pool_forms", "resize"]


def pool(e: Evidence) -> list[Cause]:
    """Maximum against mean, padding counted or not, the border."""
    import torch

    if e.lone is None or "Pool" not in e.lone.kind or e.lone.inputs[0] is None or e.lone.inputs[0].ndim != 4:
        return []
    x = torch.from_numpy(e.lone.inputs[0].copy())
    module = dict(e.bound.torch.module.named_modules())[e.lone.path]
    target = _laid_like(e.got, e.lone.output)
    everything = ("pool-kind", "takes the maximum of everything", lambda x: x.amax((2, 3), keepdim=True))
    for name, words, run in (*pool_forms(module), everything):
        try:
            made = run(x).numpy()
        except RuntimeError:
            continue
        if target is not None and (same(made, target) or same(made.reshape(len(made), -1), e.got)):
            return proven_here(e, name, f"the pool of JAX {words}; torch's is {module}.", "Pool alike.")
    return []


def pool_forms(module: Any) -> list[tuple[str, str, Callable[[Any], Any]]]:
    """Return what a port may make of a pool over images: a cause, its words, and the pool of a tensor."""
    import torch

    f = torch.nn.functional
    size, stride, pad = (getattr(module, name, other) for name, other in
                         (("kernel_size", 2), ("stride", 2), ("padding", 0)))  # fmt: skip
    windows, steps = (x if isinstance(x, tuple) else (x, x) for x in (size, stride))

    def border(x: Any, fill: float) -> Any:
        sides: list[int] = []
        for length, window, step in zip(x.shape[2:], windows, steps, strict=True):
            more = max((-(-length // step) - 1) * step + window - length, 0)
            sides = [more // 2, more - more // 2, *sides]
        return f.pad(x, sides, value=fill)

    def mean(x: Any, *, counted: bool) -> Any:
        whole, ones = (f.avg_pool2d(border(x, 0.0), size, stride) for x in (x, torch.ones_like(x)))
        return whole if counted else whole / ones

    return [
        ("pool-kind", "takes the mean", lambda x: f.avg_pool2d(x, size, stride, pad)),
        ("pool-count", "leaves the padding out of the mean",
         lambda x: f.avg_pool2d(x, size, stride, pad, count_include_pad=False)),
        ("pool-kind", "takes the maximum", lambda x: f.max_pool2d(x, size, stride, pad)),
        ("padding", "has 'SAME' padding, which puts more at the end",
         lambda x: f.max_pool2d(border(x, float("-inf")), size, stride)),
        ("pool-kind", "takes the mean with 'SAME' padding", lambda x: mean(x, counted=True)),
        ("pool-kind", "takes the mean with 'SAME' padding, which it leaves out", lambda x: mean(x, counted=False)),
    ] if "Max" in type(module).__name__ else [
        ("pool-count", "leaves the padding out of the mean",
         lambda x: f.avg_pool2d(x, size, stride, pad, count_include_pad=False)),
        ("pool-count", "counts the padding in the mean",
         lambda x: f.avg_pool2d(x, size, stride, pad, count_include_pad=True)),
        ("pool-kind", "takes the maximum", lambda x: f.max_pool2d(x, size, stride, pad)),
        ("padding", "has 'SAME' padding, which puts more at the end", lambda x: mean(x, counted=True)),
        ("padding", "has 'SAME' padding, which it leaves out of the mean", lambda x: mean(x, counted=False)),
        ("pool-kind", "takes the maximum with 'SAME' padding",
         lambda x: f.max_pool2d(border(x, float("-inf")), size, stride)),
    ]  # fmt: skip


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

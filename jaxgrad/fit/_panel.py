"""The picture of a fit: target, fit and error, the gradient fields of both, and the way there."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgrad._whites import WHITES
from jaxgrad.verify import CannotRun, _files

__all__ = ["Panel", "as_colours", "draw_panel", "save_picture"]

SHOWN = 100.0
"""Decibels: a ceiling above is that of rounding, and no line."""


class Panel(NamedTuple):
    """What is drawn; pictures are ``(H, W, C)``, gradients ``(H, W, C, 2)``."""

    title: str
    target: Any
    fit: Any
    target_gradient: Any
    fit_gradient: Any
    losses: Any
    """By step."""
    quality: Any
    """Pairs of a step and the PSNR after it."""
    ceiling: float
    """In decibels; infinite where there is none."""
    lines: tuple[str, ...]
    """What is written beside the pictures."""


def draw_panel(path: Path, panel: Panel) -> None:
    """Draw a fit as a PNG file, whole or not at all.

    Raises:
        OSError: As the system gave it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 7.6), layout="constrained")
    figure.suptitle(panel.title, fontsize="medium")
    (target, fit, error, curve), (slopes, found, missed, text) = figure.subplots(2, 4)
    _show(target, panel.target, "target")
    _show(fit, panel.fit, "fit")
    _magnitude(figure, error, np.sqrt(np.mean((panel.fit - panel.target) ** 2, -1)), "error, over channels")
    reach = float(np.quantile(_length(panel.target_gradient), 0.99)) or 1.0
    _show(slopes, as_colours(panel.target_gradient, reach), "gradient of the target\n(hue: direction, light: size)")
    _show(found, as_colours(panel.fit_gradient, reach), "gradient of the fit, same scale")
    _magnitude(figure, missed, _length(panel.fit_gradient - panel.target_gradient), "error of the gradient")
    _curve(curve, panel)
    text.axis("off")
    text.text(0, 1, "\n".join(panel.lines), va="top", fontsize="small", wrap=True)
    _files.write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))


def _show(axes: Any, picture: Any, title: str) -> None:
    """Show a picture in its own colours, cut to 0 and 1; grey where it has one channel."""
    shown = np.clip(picture, 0, 1)
    axes.imshow(np.repeat(shown, 3, -1) if shown.shape[-1] == 1 else shown, interpolation="nearest")
    axes.set_title(title, fontsize="small")
    axes.axis("off")


def _magnitude(figure: Any, axes: Any, values: Any, title: str) -> None:
    """Show sizes with their scale."""
    shown = axes.imshow(values, cmap="magma", vmin=0, interpolation="nearest")
    figure.colorbar(shown, ax=axes, shrink=0.75)
    axes.set_title(f"{title}\n(root mean square {np.sqrt(np.mean(values**2)):.3g})", fontsize="small")
    axes.axis("off")


def _length(gradient: Any) -> Any:
    """Return the size of the gradient over all channels and coordinates."""
    return np.sqrt(np.sum(gradient**2, axis=(-2, -1)))


def as_colours(gradient: Any, reach: float) -> Any:
    """Return the direction of the channels' mean gradient as a hue, its size up to ``reach`` as lightness."""
    from matplotlib.colors import hsv_to_rgb

    mean = gradient.mean(-2)
    hue = (np.arctan2(mean[..., 1], mean[..., 0]) / (2 * np.pi)) % 1.0
    size = np.clip(np.linalg.norm(mean, axis=-1) / reach, 0, 1) ** 0.5
    return hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.85), size], -1))


def _curve(axes: Any, panel: Panel) -> None:
    """Draw the loss and the PSNR by step, and the ceiling as a line."""
    steps = np.arange(1, len(panel.losses) + 1)
    axes.semilogy(steps, panel.losses, color="#c9c9c9", lw=0.8)
    axes.set(xlabel="step", ylabel="loss, in parts of the targets' mean square")
    right = axes.twinx()
    right.plot(*np.transpose(panel.quality), color="#1f4e79", marker=".")
    right.set_ylabel("PSNR in dB", color="#1f4e79")
    if panel.ceiling < SHOWN:
        right.axhline(panel.ceiling, color="#d1703c", ls="--", lw=1)
        right.annotate(
            f"ceiling of these targets: {panel.ceiling:.1f} dB",
            (0.98, panel.ceiling),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize="x-small",
            color="#d1703c",
        )


def save_picture(path: Path, values: Any) -> None:
    """Save a picture of ``(H, W, C)`` from 0 to 1, cut to that, as its ending says; whole or not at all.

    A PNG or TIFF of one channel has 16 bits; other pictures have 8.

    Raises:
        CannotRun: If a number is none, or the disk refuses.
    """
    from PIL import Image

    wrong = int(np.sum(~np.isfinite(values)))
    if wrong:
        message = f"{path} would hold {wrong} numbers that are NaN or infinite: the field's weights are damaged"
        raise CannotRun(message)
    form = Image.registered_extensions()[path.suffix.lower()]
    grey = values.shape[-1] == 1
    depth = "uint16" if grey and form in ("PNG", "TIFF") else "uint8"
    shown = np.round(np.clip(values[..., 0] if grey else values, 0, 1) * WHITES[depth])
    image = Image.fromarray(shown.astype(depth))
    try:
        _files.write_atomically(path, lambda file: image.save(file, format=form))
    except OSError as error:
        raise CannotRun(str(error)) from error

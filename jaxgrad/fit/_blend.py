r"""Two pictures in one, by their gradients.

One field :math:`\phi` is fitted to the gradient of the second picture :math:`s` inside a mask :math:`m` and to that of
the first, :math:`f`, outside, and to the values of the first along the border :math:`B` of the picture:

.. math:: \frac{\overline{|\nabla \phi - m \nabla s - (1 - m) \nabla f|^2}}{\overline{|\nabla f|^2}}
          + \frac{\overline{(\phi - f)^2_B}}{\mathrm{var} f}

It is Poisson image editing (Perez et al. 2003) with the seam left to least squares: where the two gradients do not fit
together along the mask, the difference is spread over the picture, most of it near the seam, rather than made up inside
alone. What the mask cuts out of the second comes in the colours that fit the first; only differences of the second
count, never its level.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgrad.fit._picture import Picture, cut, read_picture
from jaxgrad.fit._run import Run
from jaxgrad.fit._settings import Settings
from jaxgrad.verify import CannotRun

__all__ = ["blend_arrays", "blend_files", "mask_of"]

BORDER = 2
"""How many pixels deep the border is along which the first picture's values hold."""


def mask_of(text: str | None, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the mask of a picture, ``(H, W)`` from 0 to 1: 1 is where the second picture's gradient counts.

    Args:
        text: A picture file, whose lightness is the mask, scaled as the pictures are; a box in pixels of the scaled
            picture, ``LEFT,TOP,RIGHT,BOTTOM``; or ``None``, the middle half of each side.
        size: Rows and columns.

    Raises:
        CannotRun: If it is neither, or nothing or everything is inside.
    """
    height, width = size
    if text is None:
        text = f"{width // 4},{height // 4},{width - width // 4},{height - height // 4}"
    parts = text.split(",")
    if len(parts) == 4 and not Path(text).exists():
        mask = _box(text, parts, size)
    elif not Path(text).exists():
        message = f"--mask must be a picture file or a box LEFT,TOP,RIGHT,BOTTOM in pixels; there is no file {text!r}"
        raise CannotRun(message)
    else:
        mask = cut(read_picture(Path(text), "black"), size).values.mean(-1)
    if not 0 < mask.mean() < 1:
        message = f"--mask {text} takes {'all' if mask.mean() else 'nothing'} of the second picture; mask a part of it"
        raise CannotRun(message)
    return mask


def _box(text: str, parts: list[str], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return the mask of a box.

    Raises:
        CannotRun: If it is no box inside of the picture.
    """
    height, width = size
    try:
        left, top, right, bottom = map(int, parts)
    except ValueError:
        left = right = top = bottom = 0
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        message = (
            f"--mask must be a box LEFT,TOP,RIGHT,BOTTOM of whole numbers inside of {width} x {height} pixels (width x"
            f" height), such as 4,4,{max(width - 4, 5)},{max(height - 4, 5)}; got {text!r}"
        )
        raise CannotRun(message)
    mask = np.zeros(size)
    mask[top:bottom, left:right] = 1.0
    return mask


def blend_files(
    first: Path,
    second: Path,
    mask: str | None,
    settings: Settings,
    *,
    background: str = "white",
    tell: Callable[[Any], None],
    say: Callable[[str], None],
) -> np.ndarray[Any, Any]:
    """Return two picture files fused, ``(H, W, C)``.

    Raises:
        CannotRun: In one line, for whatever is wrong with the arguments or the files.
    """
    pictures = []
    for path in (first, second):
        picture = cut(read_picture(path, background), settings.size)
        for note in picture.notes:
            say(f"{path.name}: {note}")
        pictures.append(picture)
    chosen = mask_of(mask, settings.size)
    values = _of_equal_channels(*pictures)
    return blend_arrays(*values, chosen, settings, tell=tell)


def _of_equal_channels(first: Picture, second: Picture) -> tuple[Any, Any]:
    """Return the values of two pictures, both in colours where one is."""
    channels = max(first.values.shape[-1], second.values.shape[-1])
    wide = [np.broadcast_to(p.values, (*p.values.shape[:2], channels)) for p in (first, second)]
    return wide[0], wide[1]


def blend_arrays(
    first: Any, second: Any, mask: Any, settings: Settings, *, tell: Callable[[Any], None] = lambda _: None
) -> np.ndarray[Any, Any]:
    """Return two pictures of ``(H, W, C)`` fused; ``mask`` is of ``(H, W)``.

    Raises:
        CannotRun: If there is nothing to fit, or the loss becomes NaN.
    """
    import jax

    from jaxgrad.fit._network import Sampler, make_field
    from jaxgrad.fit._targets import pool_of
    from jaxgrad.fit._training import make_pool, train

    ours, theirs = (pool_of(values, settings.targets) for values in (first, second))
    points = np.asarray(ours.points)
    rows, columns = _pixels_of(points, settings.size)
    inside = mask[rows, columns][:, None, None]
    wanted = inside * np.asarray(theirs.gradients) + (1 - inside) * np.asarray(ours.gradients)
    height, width = settings.size
    deep = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    border = deep < min(BORDER, (min(settings.size) + 1) // 2)
    pools = {
        "gradient": make_pool(points, wanted, "gradient"),
        "value": make_pool(points[border], np.asarray(ours.values)[border], "value"),
    }
    field = make_field(settings, first.shape[-1], jax.random.fold_in(jax.random.key(settings.seed), 0))
    sampler = Sampler(field, settings.size)
    # there is no picture to compare with: progress shows how near the result is to the first, where the mask is 0
    outside = mask == 0
    at_border = lambda params: _ratio(sampler.values(params)[outside], first[outside])  # noqa: E731
    state = train(field, pools, settings, at_border, run=Run("blend", None, {}), tell=tell)
    return sampler.values(state.params)


def _ratio(found: Any, wanted: Any) -> float:
    """Return a PSNR; NaN where nothing is compared."""
    from jaxgrad import inr

    return float(inr.psnr(found, np.float32(wanted))) if wanted.size else float("nan")


def _pixels_of(points: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    """Return the row and the column of the pixel that each point lies in."""

    def index(coordinate: Any, count: int) -> Any:
        return np.clip(np.floor((coordinate + 1) * (count - 1) / 2 + 0.5).astype(int), 0, count - 1)

    return index(points[:, 1], size[0]), index(points[:, 0], size[1])

"""A fitted run as a picture of any size."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgrad.fit._fit import WEIGHTS
from jaxgrad.fit._run import SETTINGS, differences, read_settings
from jaxgrad.fit._settings import LARGEST_SIZE, Settings, parse_size
from jaxgrad.verify import CannotRun

__all__ = ["load", "render", "size_of"]


def size_of(text: str, fitted: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of ``"512"``, ``"384x512"`` (height x width) or ``"2x"``, a factor.

    Raises:
        CannotRun: If it is none of them, or the picture would have less than 1 or too many pixels along a side.
    """
    if not text.lower().endswith("x"):
        return parse_size(text, least=1)
    try:
        factor = float(text[:-1])
        height, width = (round(factor * side) for side in fitted)
    except (ValueError, OverflowError):
        height = width = 0
    if min(height, width) < 1 or max(height, width) > LARGEST_SIZE:
        message = (
            f"--size must be a number of pixels up to {LARGEST_SIZE}, HEIGHTxWIDTH or a factor such as 2x; got {text!r}"
        )
        raise CannotRun(message)
    return height, width


def load(folder: Path) -> tuple[Settings, Any, Any]:
    """Return the settings of a run, its field and the offset of each channel.

    A run of an earlier version is drawn with the options that its network had then.

    Raises:
        CannotRun: If the run is not finished, or its files are not those of one.
    """
    settings, plain = _settings(folder)
    if not (folder / WEIGHTS).is_file():
        message = f"{folder} holds a run that is not finished: jaxgrad fit --resume writes its {WEIGHTS}"
        raise CannotRun(message)
    from jaxgrad.fit._network import field_of
    from jaxgrad.fit._weights import read_weights

    arrays, about = read_weights(folder / WEIGHTS)
    written = about.get("settings", {}) if isinstance(about, dict) else {}
    changed = differences(written, {name: plain.get(name) for name in written})
    if changed:
        message = f"{folder / WEIGHTS} was written by another run than the one of {SETTINGS}: {changed}"
        raise CannotRun(message)
    offset = arrays.pop("offset", None)
    if offset is None or offset.ndim != 1 or offset.dtype != np.float32:
        message = f"{folder / WEIGHTS} was not written by jaxgrad fit: it holds no offset of each channel in float32"
        raise CannotRun(message)
    return settings, field_of(settings, len(offset), arrays, plain["network"]), offset


def _settings(folder: Path) -> tuple[Settings, dict[str, Any]]:
    """Return the settings of a run, and the file that they are from.

    Raises:
        CannotRun: If they are those of no fit.
    """
    plain = read_settings(folder, "fit")
    try:
        return Settings.of(plain), {**plain, "network": dict(plain["network"])}
    except (KeyError, TypeError) as error:
        message = f"{folder} holds a run of another version of jaxgrad: its settings lack or mistake {error}"
        raise CannotRun(message) from error


def render(folder: Path, size: str, out: Path | None) -> tuple[Path, tuple[int, int], Settings]:
    """Write a run as a picture; return where it is, its size and the run's settings.

    Raises:
        CannotRun: In one line, for whatever is wrong with the run, the size or the disk.
    """
    height, width = size_of(size, _settings(folder)[0].size)
    path = out or folder / f"render-{height}x{width}.png"
    settings, field, offset = load(folder)
    from jaxgrad.fit._network import Sampler
    from jaxgrad.fit._panel import save_picture

    values = Sampler(field, settings.size, (height, width)).values(field.params)
    save_picture(path, values + offset)
    return path, (height, width), settings

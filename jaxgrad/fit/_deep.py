"""Pictures that Pillow would read with less than they hold: PNG files of 16 bits, and TIFF files of any layout."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgrad._whites import WHITES
from jaxgrad.fit._loggers import quiet
from jaxgrad.verify import CannotRun

__all__ = [
    "EXTRA_SAMPLES",
    "LEFT_OUT",
    "ORIENTATION",
    "PHOTOMETRIC",
    "TURNED",
    "TURNS",
    "UNSPECIFIED",
    "WHITE_IS_ZERO",
    "read_deep_png",
    "read_tiff",
    "turn_upright",
]

ORIENTATION = 0x0112
"""The tag that says how a picture is to be turned, of EXIF and of TIFF."""

TURNS, TURNED = range(2, 9), "turned upright by its EXIF orientation"
"""Its numbers that ask for a turn, and what is said of one."""

PHOTOMETRIC, WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED = 262, 0, 1, 2, 3, 5
"""The tag that says what the channels of a TIFF file are, and what it says."""

COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, SEPARATED: 4}
"""How many channels each has, without what stands beside them."""

UNSPECIFIED, PREMULTIPLIED, STRAIGHT = 0, 1, 2
"""What a channel beside the colours is in a TIFF file: its extra samples, of which the last two are alpha."""

EXTRA_SAMPLES, LEFT_OUT = 338, "what it holds beside colours left out"
"""The tag that says so, and what is said of those that are unspecified."""

LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""How Pillow unpacks the lower bytes of a PNG file, by how it unpacks the upper ones."""


def turn_upright(array: Any, orientation: int) -> Any:
    """Return a picture ``(H, W, ...)`` turned and mirrored as EXIF says it should be; most ask for nothing."""
    if orientation not in TURNS:
        return array
    if orientation > 4:
        array, orientation = np.swapaxes(array, 0, 1), orientation - 4
    down, right = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[orientation]
    return array[::down, ::right]


def read_deep_png(file: Any) -> np.ndarray[Any, Any]:
    """Return the numbers of a PNG file of 16 bits, ``(H, W, channels)`` in uint16, alpha last where there is one.

    Pillow keeps the upper byte of a colour. Read as if the two were swapped, it keeps the lower one.

    Args:
        file: An open file, of which any part can be read.

    Raises:
        OSError: As Pillow gave it, where the file is torn.
    """
    image = _opened(file)
    way = image.tile[0][3]
    if way in LOWER:
        array = _unpacked(file) << 8 | _unpacked(file, LOWER[way])
    elif way == "LA;16B":
        # the four bytes of grey and alpha, as four channels
        halves = _unpacked(file, "RGBA")
        array = halves[..., ::2] << 8 | halves[..., 1::2]
    else:
        array = _unpacked(file)[..., None]
    transparent = image.info.get("transparency")
    if transparent is None:
        return array
    shown = np.any(array != np.asarray(transparent), axis=-1, keepdims=True)
    return np.concatenate([array, np.uint16(65535) * shown], axis=-1)


def _opened(file: Any) -> Any:
    """Return a Pillow image of an open file, from its start."""
    from PIL import Image

    file.seek(0)
    return Image.open(file)


def _unpacked(file: Any, way: str | None = None) -> Any:
    """Return the numbers that Pillow makes of a file in uint16, unpacked in a way of its own or in another."""
    image = _opened(file)
    if way is not None:
        image.tile = [(*tile[:3], way) for tile in image.tile]
    return np.asarray(image).astype(np.uint16)


def read_tiff(path: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return the first page of a TIFF file, ``(H, W, channels)``, and what there is to say of it.

    Its channels are those of grey or of red, green and blue, and alpha last where there is one; black is 0. Integers of
    up to 16 bits are divided by their white, other numbers are as they are.

    Raises:
        CannotRun: If its channels are no colours that are read.
    """
    import tifffile

    # a torn file is logged of too
    with quiet("tifffile"), tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        notes = [f"the first of {len(file.pages)} frames"] if len(file.pages) > 1 else []
        array, bits, beside = page.asarray(), page.bitspersample, tuple(map(int, page.extrasamples))
        kind, orientation = page.tags.valueof(PHOTOMETRIC, BLACK_IS_ZERO), page.tags.valueof(ORIENTATION, 1)
        table = page.colormap if kind == PALETTE else None
        array = np.moveaxis(array, page.axes.index("S"), -1) if "S" in page.axes else array[..., None]
    if orientation in TURNS:
        notes.append(TURNED)
    count, beside = _channels(path, array, kind, beside)
    # 10, 12 or 14 bits lie in 16
    white = 2**bits - 1 if array.dtype == np.uint16 else WHITES.get(str(array.dtype), 1)
    values = array / white if white > 1 else array
    if table is not None:
        values = np.concatenate([np.moveaxis(table[:, array[..., 0]], 0, -1) / 65535, values[..., 1:]], axis=-1)
        count = 3
    if UNSPECIFIED in beside:
        notes.append(LEFT_OUT)
    return turn_upright(_shown(values, kind, count, beside), orientation), notes


def _channels(path: Path, array: Any, kind: int, beside: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return how many channels of a TIFF page are colours, and what each of the others is.

    Raises:
        CannotRun: If they are no colours that are read.
    """
    count, channels = COLOURS.get(kind, 0), array.shape[-1]
    if count == 1 and beside == (UNSPECIFIED, UNSPECIFIED):
        # floats of three channels are often written so
        count, beside = 3, ()
    if not beside and channels == count + 1:
        # alpha that is not told, as Pillow reads it
        beside = (STRAIGHT,)
    if array.ndim != 3 or count == 0 or channels != count + len(beside) or (count == 1 and len(beside) > 1):
        message = (
            f"{path} holds an array of shape {array.shape} whose channels are not read as colours (photometric"
            f" interpretation {kind}, extra samples {beside}); save it as grey or RGB"
        )
        raise CannotRun(message)
    return count, beside


def _shown(values: Any, kind: int, count: int, beside: tuple[int, ...]) -> Any:
    """Return the grey or the red, green and blue of a page, and alpha behind them where there is one."""
    colours = values[..., :count]
    if kind == WHITE_IS_ZERO:
        colours = 1.0 - colours
    elif kind == SEPARATED:
        colours = (1.0 - colours[..., :3]) * (1.0 - colours[..., 3:])
    found = [i for i, what in enumerate(beside) if what in (PREMULTIPLIED, STRAIGHT)]
    if not found:
        return colours
    alpha = values[..., count + found[0], None]
    if beside[found[0]] == PREMULTIPLIED:
        # what lies beyond 1 is refused later
        colours = np.where(colours > 1, colours, np.minimum(colours, alpha) / np.where(alpha > 0, alpha, 1))
    return np.concatenate([colours, alpha], axis=-1)

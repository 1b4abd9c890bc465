"""Picture files as numbers from 0 to 1: of any depth, upright, and cut to the size that is fitted."""

import io
import stat
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgrad._whites import WHITES
from jaxgrad.fit._deep import (
    EXTRA_SAMPLES,
    LEFT_OUT,
    ORIENTATION,
    PHOTOMETRIC,
    TURNED,
    TURNS,
    UNSPECIFIED,
    WHITE_IS_ZERO,
    read_deep_png,
    read_tiff,
    turn_upright,
)
from jaxgrad.verify import CannotRun

__all__ = ["Picture", "check_ending", "check_file", "cut", "read_colour", "read_picture"]

GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes without colours."""

KEPT = ("L", "RGB", "I;16", "I;16B", "I;16L", "I", "F", "RGBA", "LA")
"""Pillow's modes that are read as they are; the others are turned into one of these."""


class Picture(NamedTuple):
    """A picture of ``(H, W, C)`` in float64, C being 1 or 3, from 0 to 1."""

    values: np.ndarray[Any, Any]
    notes: tuple[str, ...]
    """What was decided in reading it, each in a few words."""


def check_file(path: Path) -> None:
    """Refuse what is no file before anything is imported to read it.

    Raises:
        CannotRun: In one line.
    """
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return
        message = f"{path} is a folder; name a picture file"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        message = f"there is no file {path}"
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
    raise CannotRun(message)


def check_ending(path: Path) -> None:
    """Refuse a file whose ending is that of no picture which can be written.

    Raises:
        CannotRun: With some that are.
    """
    from PIL import Image

    form = Image.registered_extensions().get(path.suffix.lower())
    try:
        # some of the formats that Pillow knows take black and white alone, or need a program that is not there
        Image.new("RGB", (2, 2)).save(io.BytesIO(), format=form or "")
    except Exception as error:
        # each encoder has errors of its own
        message = f"{path} must end as a picture does, such as .png, .tiff, .jpg or .webp"
        raise CannotRun(message) from error


def read_colour(text: str) -> tuple[float, ...]:
    """Return the three numbers of a colour's name, such as ``"white"`` or ``"#ff8800"``.

    Raises:
        CannotRun: If it is none.
    """
    from PIL import ImageColor

    try:
        return tuple(part / 255 for part in ImageColor.getrgb(text)[:3])
    except ValueError:
        message = f"--background must be a colour such as white or '#ff8800'; got {text!r}"
        raise CannotRun(message) from None


def read_picture(path: Path, background: str = "white") -> Picture:
    """Read a picture file of any format that Pillow knows, or a TIFF file of any depth.

    16-bit numbers are divided by 65535, palettes read by their colours, an EXIF orientation turned upright, what shines
    through is laid over a colour, grey stays one channel, and of several frames the first is taken.

    Args:
        path: The file.
        background: The colour behind what is transparent.

    Raises:
        CannotRun: If it is missing, is no picture, or holds NaN or numbers beyond 0 and 1.
    """
    check_file(path)
    behind = read_colour(background)
    try:
        # a picture of an odd size or with broken EXIF is warned of; it is read or refused
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, notes = _by_pillow(path) or read_tiff(path)
    except CannotRun:
        raise
    except Exception as error:
        # each decoder has errors of its own
        words = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"{path} is no picture that can be read ({words})"
        raise CannotRun(message) from error
    values = _scaled(path, array)
    return _composited(path, values, behind, background, notes)


def _by_pillow(path: Path) -> tuple[Any, list[str]] | None:
    """Return the numbers and what there is to say of them; ``None`` for a TIFF file that Pillow cannot read whole."""
    from PIL import Image, UnidentifiedImageError

    notes = []
    # an open file: of a name Pillow would map the memory of a TIFF file, whose rows it mistakes where it turns them
    with path.open("rb") as file:
        head = file.read(25)
        file.seek(0)
        try:
            image: Any = Image.open(file)
        except UnidentifiedImageError:
            if head[:2] in (b"II", b"MM"):
                return None
            message = f"{path} is no picture that can be read"
            raise CannotRun(message) from None
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"the first of {frames} frames")
        if image.format == "TIFF":
            if _needs_tifffile(image):
                return None
            if UNSPECIFIED in image.tag_v2.get(EXTRA_SAMPLES, ()):
                notes.append(LEFT_OUT)
        orientation = image.getexif().get(ORIENTATION, 1)
        if orientation in TURNS:
            notes.append(TURNED)
        # the bits of a channel stand behind the width and the height in the first chunk
        if image.format == "PNG" and head[24] == 16:
            return turn_upright(read_deep_png(file), orientation), notes
        image.load()
        # which has turned a TIFF file, and taken its orientation away
        left = image.getexif().get(ORIENTATION, 1)
        return turn_upright(np.asarray(_in_kept_mode(image)), left), notes


def _needs_tifffile(image: Any) -> bool:
    """Whether Pillow would take bits away or mistake numbers: some of more than 8 bits, and what it does not know."""
    bits, grey = max(image.tag_v2.get(258, (1,))), len(image.getbands()) == 1
    # it reads 12 bits as if they were 16, and more than 8 of which 0 is white as if 0 were black
    deep = bits > 8 and (not grey or bits not in (16, 32) or image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO)
    return deep or image.mode not in (*KEPT, "1", "P", "PA", "La", "CMYK", "YCbCr", "LAB") or image.mode == "I"


def _in_kept_mode(image: Any) -> Any:
    """Return a picture with its palette and its one transparent colour written out."""
    if "transparency" in image.info:
        return image.convert("LA" if image.mode in GREY else "RGBA")
    if image.mode in KEPT:
        return image
    return image.convert({"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


def _scaled(path: Path, array: Any) -> Any:
    """Return float64 from 0 to 1, of shape ``(H, W, channels)``.

    Raises:
        CannotRun: If the numbers are none of a picture's.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4) or array.size == 0:
        message = f"{path} holds an array of shape {array.shape}, which is no picture of 1, 2, 3 or 4 channels"
        raise CannotRun(message)
    if array.dtype == np.int32 and array.min() >= 0 and array.max() <= WHITES["uint16"]:
        # 16 bits, which Pillow gives in 32 for some formats
        array = array.astype(np.uint16)
    largest = WHITES.get(str(array.dtype))
    if largest is not None:
        return array / float(largest)
    values = array.astype(np.float64)
    wrong = int(np.sum(~np.isfinite(values)))
    if wrong:
        message = f"{path} holds {wrong} numbers that are NaN or infinite; replace them first"
        raise CannotRun(message)
    if values.min() < 0 or values.max() > 1:
        message = (
            f"{path} holds {array.dtype} numbers from {values.min():g} to {values.max():g}; scale them to 0 to 1 first,"
            " or save it with 8 or 16 bits"
        )
        raise CannotRun(message)
    return values


def _composited(path: Path, values: Any, behind: tuple[float, ...], background: str, notes: list[str]) -> Picture:
    """Return the picture over a colour, where something shines through."""
    channels = values.shape[-1]
    if channels in (2, 4):
        values, alpha = values[..., :-1], values[..., -1:]
        if np.any(alpha < 1):
            colour = np.array(behind)
            if channels == 2 and np.ptp(colour) == 0:
                colour = colour[:1]
            values = values * alpha + colour * (1 - alpha)
            notes.append(f"what is transparent laid over {background}")
    if min(values.shape[:2]) < 2:
        message = f"{path} is {values.shape[0]} x {values.shape[1]} pixels (height x width); at least 2 x 2 are needed"
        raise CannotRun(message)
    return Picture(values, tuple(notes))


def cut(picture: Picture, size: tuple[int, int]) -> Picture:
    """Cut the largest centred part of the wanted shape out of a picture, and scale it to a size.

    Scaled down it is smoothed first (``skimage.transform.resize(..., anti_aliasing=True)``).
    """
    from skimage.transform import resize

    values, notes = picture
    rows, columns = values.shape[:2]
    height, width = size
    # the centred part: all rows or all columns
    kept_rows, kept_columns = min(rows, max(1, columns * height // width)), min(columns, max(1, rows * width // height))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    part = values[top : top + kept_rows, left : left + kept_columns]
    said = list(notes)
    if part.shape[:2] != (rows, columns):
        said.append(f"cut to its middle, {kept_rows} x {kept_columns} of {rows} x {columns} pixels")
    if part.shape[:2] != size:
        larger = " (it has no more than that to show)" if height * width > kept_rows * kept_columns else ""
        said.append(f"scaled to {height} x {width}{larger}")
        part = resize(part, size, anti_aliasing=True)
    return Picture(part, tuple(said))

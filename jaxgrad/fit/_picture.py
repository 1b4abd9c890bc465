"""Picture files as numbers from 0 to 1: of any depth, upright, and cut to the size that is fitted."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgrad._whites import WHITES
from jaxgrad.fit._loggers import quiet
from jaxgrad.verify import CannotRun

__all__ = ["Picture", "check_ending", "check_file", "cut", "read_colour", "read_picture"]

GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes without colours."""

KEPT = ("L", "RGB", "I;16", "I;16B", "I;16L", "F", "RGBA", "LA")
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
    if path.is_dir():
        message = f"{path} is a folder; name a picture file"
    elif not path.exists():
        message = f"there is no file {path}"
    else:
        return
    raise CannotRun(message)


def check_ending(path: Path) -> None:
    """Refuse a file whose ending is that of no picture which can be written.

    Raises:
        CannotRun: With some that are.
    """
    from PIL import Image

    form = Image.registered_extensions().get(path.suffix.lower())
    if form not in Image.SAVE:
        message = f"{path} must end as a picture does, such as .png, .tiff, .jpg or .webp"
        raise CannotRun(message)


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
            array, notes = _by_pillow(path) or _by_tifffile(path)
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
    from PIL import Image, ImageOps, UnidentifiedImageError

    notes = []
    try:
        opened = Image.open(path)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            if file.read(2) in (b"II", b"MM"):
                return None
        message = f"{path} is no picture that can be read"
        raise CannotRun(message) from None
    with opened as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"the first of {frames} frames")
        deep = image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA") and _depth_of_png(path) == 16
        if deep:
            notes.append("16-bit colours read as 8 bits, for Pillow has no more")
        if image.format == "TIFF" and _needs_tifffile(image):
            return None
        image.load()
        turned = ImageOps.exif_transpose(image)
        if turned.size != image.size or image.getexif().get(0x0112, 1) not in (0, 1):
            notes.append("turned upright by its EXIF orientation")
        return np.asarray(_in_kept_mode(turned)), notes


def _needs_tifffile(image: Any) -> bool:
    """Whether Pillow would take bits away: colours of more than 8, and numbers of widths that it does not know."""
    deep = max(image.tag_v2.get(258, (1,))) > 8
    return (deep and len(image.getbands()) > 1) or image.mode not in (*KEPT, "1", "P", "CMYK", "YCbCr", "LAB")


def _depth_of_png(path: Path) -> int:
    """Return the bits of a channel, which stand behind the width and the height in the first chunk."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _in_kept_mode(image: Any) -> Any:
    """Return a picture with its palette and its one transparent colour written out."""
    if "transparency" in image.info:
        return image.convert("LA" if image.mode in GREY and image.mode != "I;16" else "RGBA")
    if image.mode in KEPT:
        return image
    if image.mode == "I":
        # PNG files of 16 bits, before Pillow 11.3
        return image.convert("I;16") if image.format in ("PNG", None) else image
    return image.convert({"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(image.mode, "RGB"))


def _by_tifffile(path: Path) -> tuple[Any, list[str]]:
    """Return the numbers of a TIFF file as they are."""
    import tifffile

    # a torn file is logged of too
    with quiet("tifffile"), tifffile.TiffFile(path) as file:
        pages = len(file.pages)
        return file.pages[0].asarray(), [f"the first of {pages} frames"] if pages > 1 else []


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

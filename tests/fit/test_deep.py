"""Files that Pillow would read with less than they hold: PNG of 16 bits, TIFF of every layout, turned pictures."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxgrad.fit._picture import read_picture
from jaxgrad.verify import CannotRun
from tests.fit.pictures import gradient_picture, save

SAID = ("turned upright by its EXIF orientation",)


def numbers(channels, seed=0, shape=(5, 7)):
    return np.random.default_rng(seed).integers(0, 65536, (*shape, channels), dtype=np.uint16)


def deep_png(path, array, *chunks):
    """Write a PNG of 16 bits, which Pillow does only in grey; return the path."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    # each row behind the number of its filter: none, and what lies above, which takes the bytes as they are
    rows = array.astype(">u2").reshape(height, -1).view(np.uint8)
    above = np.concatenate([rows[:1], rows[1:] - rows[:-1]])
    packed = b"".join(bytes([2 * (i > 0)]) + row.tobytes() for i, row in enumerate(above))
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(packed)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_of_a_png_are_kept(tmp_path, channels):
    array = numbers(channels)
    found = read_picture(deep_png(tmp_path / "a.png", array), "black")
    colours = array / 65535
    if channels in (2, 4):
        colours = colours[..., :-1] * colours[..., -1:]
    np.testing.assert_allclose(found.values, colours, rtol=0, atol=1e-15)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_such_a_png_has_16_bits(tmp_path, channels):
    array = numbers(channels)
    array[2, 3] = array[0, 0]
    array[4, 4] = array[0, 0] ^ 1  # of the same upper byte, and seen
    found = read_picture(deep_png(tmp_path / "a.png", array, (b"tRNS", array[0, 0].astype(">u2").tobytes())))
    wanted = array / 65535
    wanted[0, 0] = wanted[2, 3] = 1
    np.testing.assert_array_equal(found.values, wanted)
    assert found.notes == ("what is transparent laid over white",)


def test_such_a_png_is_turned_and_torn_ones_are_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = numbers(3)
    path = deep_png(tmp_path / "a.png", array, (b"eXIf", exif.tobytes()[6:]))
    found = read_picture(path)
    np.testing.assert_array_equal(found.values, np.rot90(array, -1) / 65535)
    assert found.notes == SAID
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CannotRun, match="is no picture that can be read"):
        read_picture(path)


UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}
"""What each orientation asks for."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_orientation_is_turned_and_said(tmp_path, orientation):
    upright, said = UPRIGHT[orientation], SAID if orientation > 1 else ()
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = gradient_picture()
    for name in ("a.png", "a.webp", "a.tiff"):
        found = read_picture(save(tmp_path / name, array, exif=exif, **({"lossless": True} if "webp" in name else {})))
        np.testing.assert_array_equal(found.values, upright(array) / 255)
        assert found.notes == said
    # grey in one piece, which Pillow maps where it opens it by its name, and compressed; each of these by its reader
    for compression in (None, "zlib"):
        for array, white in ((gradient_picture(channels=1), 255), (numbers(1), 65535), (numbers(3), 65535)):
            kind = "rgb" if array.shape[-1] == 3 else "minisblack"
            tag = [(274, "H", 1, orientation, True)]
            tifffile.imwrite(
                tmp_path / "b.tiff", array.squeeze(), photometric=kind, compression=compression, extratags=tag
            )
            found = read_picture(tmp_path / "b.tiff")
            np.testing.assert_array_equal(found.values, upright(array) / white)
            assert found.notes == said


def test_an_orientation_that_there_is_not_asks_for_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 9
    found = read_picture(save(tmp_path / "a.png", gradient_picture(), exif=exif))
    np.testing.assert_array_equal(found.values, gradient_picture() / 255)
    assert found.notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_zero_is_white(tmp_path, dtype):
    array = numbers(1)[..., 0]
    array = {np.uint8: array >> 8, np.uint16: array, np.float32: array / 65535}[dtype].astype(dtype)
    for order in "<>":
        tifffile.imwrite(tmp_path / "a.tiff", array, photometric="miniswhite", byteorder=order)
        white = 1 if dtype is np.float32 else np.iinfo(dtype).max
        wanted = 1 - array[..., None] / white
        np.testing.assert_allclose(read_picture(tmp_path / "a.tiff").values, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("beside", ["unassalpha", "assocalpha", "unspecified"])
def test_what_a_tiff_holds_beside_its_colours(tmp_path, beside, bits):
    array = numbers(4)
    if beside == "assocalpha":
        array[..., :3] = np.minimum(array[..., :3], array[..., 3:])
    array = (array >> (16 - bits)).astype(f"u{bits // 8}")
    tifffile.imwrite(tmp_path / "a.tiff", array, photometric="rgb", extrasamples=[beside])
    colours, alpha = array[..., :3] / (2**bits - 1), array[..., 3:] / (2**bits - 1)
    wanted = {"unassalpha": colours * alpha, "assocalpha": colours, "unspecified": colours}[beside]
    found = read_picture(tmp_path / "a.tiff", "black")
    # Pillow rounds a colour to 8 bits where it takes 8 bits of alpha out of it
    rounded = beside == "assocalpha" and bits == 8
    np.testing.assert_allclose(found.values, wanted, rtol=0, atol=1 / 255 if rounded else 1e-15)
    said = "what it holds beside colours left out" if beside == "unspecified" else "what is transparent laid over black"
    assert found.notes == (said,)


def test_inks_and_palettes_of_16_bits(tmp_path):
    inks = numbers(4)
    tifffile.imwrite(tmp_path / "inks.tiff", inks, photometric="separated")
    wanted = (1 - inks[..., :3] / 65535) * (1 - inks[..., 3:] / 65535)
    np.testing.assert_allclose(read_picture(tmp_path / "inks.tiff").values, wanted, rtol=0, atol=1e-15)
    index, table = numbers(1)[..., 0], np.random.default_rng(1).integers(0, 65536, (3, 65536), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "palette.tiff", index, photometric="palette", colormap=table)
    wanted = np.moveaxis(table[:, index], 0, -1) / 65535
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.tiff").values, wanted)


def test_colours_in_planes_and_colours_that_are_not_told(tmp_path):
    array = numbers(3)
    planes = np.moveaxis(array, -1, 0).copy()
    tifffile.imwrite(tmp_path / "planes.tiff", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_picture(tmp_path / "planes.tiff").values, array / 65535)
    floats = (array / 65535).astype(np.float32)
    tifffile.imwrite(tmp_path / "three.tiff", floats, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_picture(tmp_path / "three.tiff").values, floats)


def test_channels_that_are_no_colours_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "five.tiff", numbers(5), photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "lab.tiff", numbers(3), photometric="cielab")
    for name in ("five.tiff", "lab.tiff"):
        with pytest.raises(CannotRun, match=r"of shape \(5, 7, .\) whose channels are not read as colours"):
            read_picture(tmp_path / name)


def test_a_path_that_the_system_refuses_is_told(tmp_path):
    with pytest.raises(CannotRun, match="cannot be read: File name too long"):
        read_picture(tmp_path / ("x" * 300))
    with pytest.raises(CannotRun, match="there is no file"):
        read_picture(save(tmp_path / "a.png", gradient_picture()) / "b.png")

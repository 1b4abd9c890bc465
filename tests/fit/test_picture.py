"""Picture files are read as what they show: any depth, palette, grey, alpha, orientation; what is none is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxgrad.fit._picture import Picture, check_ending, check_file, cut, read_picture
from jaxgrad.verify import CannotRun
from tests.fit.pictures import gradient_picture, save


def test_bytes_are_divided_by_255(tmp_path):
    array = gradient_picture()
    found = read_picture(save(tmp_path / "a.png", array))
    assert found.notes == ()
    np.testing.assert_array_equal(found.values, array / 255)


def test_16_bits_are_divided_by_65535(tmp_path):
    array = (np.arange(48, dtype=np.uint16) * 1300).reshape(6, 8)
    for name in ("a.png", "a.tiff"):
        found = read_picture(save(tmp_path / name, array))
        np.testing.assert_array_equal(found.values, array[..., None] / 65535)
    colours = np.stack([array, array // 2, array // 3], -1)
    tifffile.imwrite(tmp_path / "c.tiff", colours, photometric="rgb")
    np.testing.assert_array_equal(read_picture(tmp_path / "c.tiff").values, colours / 65535)


def test_grey_stays_one_channel(tmp_path):
    array = gradient_picture(channels=1)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", array)).values, array / 255)
    black_and_white = Image.fromarray(array.squeeze()).convert("1")
    black_and_white.save(tmp_path / "b.png")
    assert set(np.unique(read_picture(tmp_path / "b.png").values)) == {0.0, 1.0}


def test_a_palette_is_read_by_its_colours(tmp_path):
    image = Image.new("P", (4, 3))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 2), 1)
    image.save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png").values * 255
    np.testing.assert_allclose(found[2, 1], [200, 100, 0])
    np.testing.assert_allclose(found[0, 0], [10, 20, 30])


def test_what_is_transparent_is_laid_over_a_colour_and_said(tmp_path):
    array = np.zeros((2, 2, 4), np.uint8)
    array[0, 0] = (255, 0, 0, 51)  # a fifth of red
    path = save(tmp_path / "a.png", array)
    white, blue = read_picture(path), read_picture(path, "blue")
    np.testing.assert_allclose(white.values[0, 0], [1, 0.8, 0.8])
    np.testing.assert_allclose(white.values[1, 1], [1, 1, 1])
    np.testing.assert_allclose(blue.values[0, 0], [0.2, 0, 0.8])
    assert white.notes == ("what is transparent laid over white",)
    with pytest.raises(CannotRun, match="--background must be a colour such as white or '#ff8800'; got 'mauvish'"):
        read_picture(path, "mauvish")


def test_grey_over_grey_stays_grey(tmp_path):
    image = Image.new("LA", (2, 2), (0, 0))
    image.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").values.tolist() == [[[1.0], [1.0]]] * 2
    assert read_picture(tmp_path / "a.png", "red").values.shape == (2, 2, 3)


def test_the_first_frame_of_several_is_taken_and_said(tmp_path):
    frames = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (255, 0, 128)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = read_picture(tmp_path / "a.gif")
    assert found.notes == ("the first of 3 frames",)
    assert found.values.min() > 0.99


def test_floats_of_a_tiff_are_as_they_are(tmp_path):
    array = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    for dtype in (np.float32, np.float64):
        tifffile.imwrite(tmp_path / "a.tiff", array.astype(dtype))
        np.testing.assert_array_equal(read_picture(tmp_path / "a.tiff").values, array[..., None])


def bad_files(folder):
    """Files that are refused, and the words that say why."""
    array = np.full((4, 4), 0.5, np.float32)
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    whole = save(folder / "whole.png", gradient_picture()).read_bytes()
    (folder / "torn.png").write_bytes(whole[:-200])
    tifffile.imwrite(folder / "nan.tiff", np.where(np.eye(4) > 0, np.nan, array).astype(np.float32))
    tifffile.imwrite(folder / "large.tiff", 300 * array)
    tifffile.imwrite(folder / "long.tiff", np.ones((4, 4), np.int64), photometric="minisblack")
    (folder / "torn.tiff").write_bytes(b"II*\0no page")
    save(folder / "one.png", np.zeros((1, 1), np.uint8))
    save(folder / "row.png", np.zeros((1, 7), np.uint8))
    return {
        "missing.png": "there is no file",
        ".": "is a folder; name a picture file",
        "text.png": "is no picture that can be read",
        "empty.png": "is no picture that can be read",
        "torn.png": "is no picture that can be read",
        "torn.tiff": "is no picture that can be read",
        "nan.tiff": "holds 4 numbers that are NaN or infinite",
        "large.tiff": "holds float32 numbers from 150 to 150; scale them to 0 to 1 first",
        "one.png": r"is 1 x 1 pixels \(height x width\); at least 2 x 2 are needed",
        "row.png": r"is 1 x 7 pixels",
    }


def test_what_is_no_picture_is_refused(tmp_path, capsys):
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(CannotRun, match=words):
            read_picture(tmp_path / name)
    assert capsys.readouterr().err == ""
    with pytest.raises(CannotRun, match="there is no file"):
        check_file(tmp_path / "missing.png")


def test_cut_takes_the_middle():
    values = np.zeros((6, 10, 1))
    values[:, 2:8] = 1.0
    square = cut(Picture(values, ("noted",)), (6, 6))
    assert square.values.min() == 1
    assert square.notes == ("noted", "cut to its middle, 6 x 6 of 6 x 10 pixels")
    whole = cut(Picture(values, ()), (6, 10))
    assert whole.notes == ()
    np.testing.assert_array_equal(whole.values, values)


def test_scaled_as_the_conventions_say():
    """The astronaut at 256 x 256 is that of the table of ceilings: cut, then resized with anti-aliasing."""
    from skimage.transform import resize

    rng = np.random.default_rng(0)
    values = rng.uniform(size=(20, 30, 3))
    found = cut(Picture(values, ()), (8, 8))
    np.testing.assert_array_equal(found.values, resize(values[:, 5:25], (8, 8), anti_aliasing=True))
    assert found.notes[1] == "scaled to 8 x 8"
    assert "no more than that to show" in cut(Picture(values, ()), (64, 64)).notes[1]


@pytest.mark.parametrize("size", [(8, 12), (12, 8), (20, 30), (5, 50)])
def test_any_shape_is_cut_without_stretching(size):
    found = cut(Picture(np.random.default_rng(0).uniform(size=(20, 30, 1)), ()), size)
    assert found.values.shape == (*size, 1)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.txt", "a.xbm", "a.h5"])
def test_an_ending_that_is_no_picture_is_refused(tmp_path, name):
    with pytest.raises(CannotRun, match="must end as a picture does"):
        check_ending(tmp_path / name)

"""The pictures of cases."""

from jaxgrad.verify.cases._picture import save


def test_a_picture_is_saved_under_a_plain_word(tmp_path):
    path = save(lambda figure: figure.add_subplot().plot([1, 2]), tmp_path, "I3: PSNR / dB")
    assert path == tmp_path / "I3-PSNR-dB.png"
    assert path.read_bytes().startswith(b"\x89PNG")

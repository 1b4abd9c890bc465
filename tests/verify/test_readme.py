"""The README's table is written from rows, and nothing else of the document changes."""

import pytest

from jaxgrad.verify import CannotRun, Row
from jaxgrad.verify.cases import _readme

ROWS = [
    Row("T1", "right", "r", "agree", error_f64=2.3e-16, noise_f32=1.25),
    Row("T1", "right", "s", "agree", error_f64=0.0, noise_f32=3.14),
    Row("T2", "|wrong|", "r", "differ", error_f64=0.01, noise_f32=8e4, reason="a: 1% off"),
    Row("T2", "|wrong|", "s", "differ", reason="ZeroDivisionError: division by zero"),
    Row("T3", "criteria", "PSNR", "agree", measured="31.4 dB"),
]

LINES = """\
| id | what | worst float64 error | worst float32 noise | verdict and criteria |
| --- | --- | ---: | ---: | --- |
| T1 | right | 2.3e-16 | 3.1x torch's | agree |
| T2 | \\|wrong\\| | 1.0e-02 | 80000.0x torch's | **differ** |
| T3 | criteria |  |  | agree; PSNR: 31.4 dB |"""


def test_a_line_for_every_case():
    assert _readme.table(ROWS) == LINES


def test_only_the_part_between_the_markers_changes():
    text = f"# Title\n{_readme.BEGIN}\nold\n{_readme.END}\nrest\n"
    once = _readme.insert(text, "new")
    assert once == f"# Title\n{_readme.BEGIN}\nnew\n{_readme.END}\nrest\n"
    assert _readme.insert(once, "new") == once


@pytest.mark.parametrize(
    "text", ["", _readme.BEGIN, _readme.END, _readme.END + _readme.BEGIN, 2 * (_readme.BEGIN + _readme.END)]
)
def test_a_document_without_its_markers_is_refused(text):
    with pytest.raises(CannotRun, match="must hold the markers"):
        _readme.insert(text, "new")

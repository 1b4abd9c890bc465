"""How a cell is written."""

import math

import pytest

from jaxgrad.verify.report._cells import duration, legal, written


@pytest.mark.parametrize(
    ("cell", "kind", "words"),
    [
        (None, "error", ""),
        ("as it is", "error", "as it is"),
        (0.0, "error", "0"),
        (1.26e-7, "error", "1.3e-07"),
        (math.nan, "multiple", "NaN"),
        (-math.inf, "error", "-inf"),
        (1.26, "multiple", "1.3x"),
        (126.4, "multiple", "126x"),
        (1.26e6, "multiple", "1e+06x"),
        (0.1234567, "number", "0.123457"),
        (0.25, "seconds", "250ms"),
    ],
)
def test_a_cell_in_words(cell, kind, words):
    assert written(cell, kind) == words


def test_a_time_in_its_unit():
    assert [duration(s) for s in (2e-6, 0.5, 3.25, 150)] == ["2us", "500ms", "3.2s", "2.5min"]


def test_what_no_form_can_show_is_seen_to_be_gone():
    assert legal("größer\x1b[31m\ud800\n") == "größer\ufffd[31m\ufffd\n"

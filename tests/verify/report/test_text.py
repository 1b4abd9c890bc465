"""The text of a report: it fits the width, what differs comes before the notes, and its words are explained."""

import json

import pytest

from tests.verify.report.samples import reports

REPORTS = reports()


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits_the_width(name, width):
    lines = REPORTS[name].table(width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line != line.rstrip() for line in lines)
    # a message of the user's neither colours the terminal nor clears it
    assert not any(ord(letter) < 32 for line in lines for letter in line)


@pytest.mark.parametrize("name", REPORTS)
def test_the_pieces_of_its_lines_are_the_text(name):
    lines = ["".join(piece for piece, _ in line) for line in REPORTS[name].lines(80)]
    assert "\n".join(lines) == REPORTS[name].table(80)
    assert {style for line in REPORTS[name].lines() for _, style in line} <= {"good", "bad", "bold", "dim", ""}


def test_without_a_width_no_line_is_broken():
    assert "a/very/deep/decoder/block_11/attention/query/kernel" in REPORTS["cases"].table()
    assert "a/very/deep/decoder/block_11/attention/query/kernel" not in REPORTS["cases"].table(80)


def test_a_check_tells_where_and_why_in_this_order():
    text = REPORTS["differing"].table()
    order = ["torch Encoder; JAX Encoder; spec spec.py", "quantity", "rounding: JAX's error in float32",
             "first divergence, forward: norm", "another divergence: act",
             "proven cause: norm: JAX's epsilon is 1e-6. Set epsilon=1e-05.", "note: no step was compared"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert text.endswith("the models differ")
    assert "123x" in text
    assert "norm.weight <-> norm/scale" in text


def test_what_differs_comes_before_the_notes_of_an_audit():
    lines = REPORTS["audit"].table().splitlines()
    differs = [i for i, line in enumerate(lines) if line.startswith("differs: ")]
    notes = [i for i, line in enumerate(lines) if line.startswith("note: ")]
    assert len(differs) == 1
    assert len(notes) == 2
    assert differs[0] < min(notes)
    assert "norm <-> norm and 1 more: epsilon: 1e-05 in torch, 1e-06 in JAX; about 4.5e-06" in lines[differs[0]]


@pytest.mark.parametrize("name", REPORTS)
def test_json_holds_numbers_and_no_constants(name):
    data = json.loads(REPORTS[name].to_json(), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(REPORTS[name].to_dict()))

"""A case may be extended from another module; its own quantities come first."""

import numpy as np

from jaxgrad.verify.cases import _case, _run, _select
from tests.verify.fakes import RIGHT, right, wrong


def test_extensions_follow_the_case_itself(monkeypatch):
    monkeypatch.setattr(_case, "EXTENSIONS", {})
    _case.extend("T1")(wrong)
    rows = list(_run.run_case(RIGHT))
    assert [row.quantity for row in rows[:2]] == [item.name for item in right(np.dtype(np.float64))]
    assert [row.verdict for row in rows] == ["agree", "agree", "differ", "differ", "agree"]
    assert {row.case for row in rows} == {"T1"}


def test_an_extension_of_no_case_is_a_case_that_fails(monkeypatch):
    monkeypatch.setitem(_case.EXTENSIONS, "Z9", [right])
    (case,) = [case for case in _select.select() if case.id == "Z9"]
    (row,) = _run.run_case(case)
    assert row.verdict == "differ"
    assert "extends case Z9, which no module defines" in row.reason

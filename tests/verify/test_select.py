"""Which cases a pattern means."""

import pytest

from jaxgrad import verify
from jaxgrad._natural import natural
from jaxgrad.verify.cases import _select

COUNTS = {"B": 4, "F": 6, "G": 10, "H": 8, "I": 4, "M": 5, "N": 5, "P": 3, "S": 6}
"""How many cases each family has."""


def ids(patterns):
    return [case.id for case in verify.select(patterns)]


def test_patterns_lists_and_small_letters():
    assert ids("H[12]") == ids(["h1", "H2"]) == ids("H2, H1,H1") == ["H1", "H2"]
    assert set(ids("H*")) < set(ids(None))


def test_every_case_is_there_and_every_module_imports():
    assert ids(None) == [f"{family}{i}" for family, count in COUNTS.items() for i in range(1, count + 1)]


@pytest.mark.parametrize("patterns", ["", "H1,", "Z*", "H1 H2", ["Q"]])
def test_what_matches_nothing_is_refused_with_advice(patterns):
    with pytest.raises(verify.CannotRun, match=r"no case is called .*--list shows them all"):
        verify.select(patterns)


def test_ids_are_in_natural_order():
    assert sorted(["N10", "N2", "B1", "_nth"], key=natural) == ["B1", "N2", "N10", "_nth"]


def test_a_module_that_does_not_import_is_a_case_that_fails(monkeypatch):
    real = _select.importlib.import_module

    def broken(name):
        if name.endswith("._curvature"):
            raise SyntaxError
        return real(name)

    monkeypatch.setattr(_select.importlib, "import_module", broken)
    assert "_curvature" in ids(None)
    (row,) = verify.run("_curvature")
    assert row.reason == "SyntaxError: None"


def test_a_missing_package_at_the_top_of_a_module_is_one_line(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name="sklearn")

    monkeypatch.setattr(_select.importlib, "import_module", missing)
    with pytest.raises(verify.CannotRun, match="scikit-learn is not installed"):
        verify.select("H1")

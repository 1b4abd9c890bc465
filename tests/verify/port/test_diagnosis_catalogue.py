"""The catalogue of causes holds every cause that a check may name, and the one matcher finds what differs."""

import ast
from pathlib import Path

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis import _attention, _catalogue, _convolution, _graphs, _normalization, _sequences
from jaxgrad.verify.port.diagnosis._catalogue import CATALOGUE, cause, hypotheses
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match

FOLDER = Path(_catalogue.__file__).parent

MAKERS = {"cause": 0, "_cause": 0, "proven": 1, "proven_here": 1}
"""The functions that make a cause, and which of their arguments is its name."""


def names_in(source: str) -> set[str]:
    """Return the names of causes that a module writes out."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in MAKERS:
            continue
        place = MAKERS[node.func.id]
        for argument in node.args[place : place + 2]:
            parts = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
            texts = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
            found |= {text for text in texts if text and " " not in text and text.islower()}
    return found - {"update", "loss"}


def test_every_cause_that_is_written_out_stands_in_the_catalogue():
    written = set().union(*(names_in(path.read_text()) for path in FOLDER.glob("*.py")))
    assert len(written) > 40
    assert written <= CATALOGUE.keys()


@pytest.mark.parametrize("module", [_attention, _convolution, _graphs, _sequences], ids=lambda m: m.__name__)
def test_every_setting_of_a_family_stands_for_a_cause(module):
    assert set(module.IDS.values()) <= CATALOGUE.keys()


def test_no_other_way_makes_a_cause():
    for path in FOLDER.glob("*.py"):
        made = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        direct = [n for n in made if getattr(n.func, "id", "") == "Cause"]
        assert not direct or path.name == "_catalogue.py", path


def test_the_catalogue_is_data_with_words_for_everything():
    assert [h.id for h in hypotheses()] == list(CATALOGUE)
    assert len(set(CATALOGUE)) == len(_catalogue._ROWS)
    for one in hypotheses():
        assert one.words.endswith(".")
        assert one.predicts
        assert one.fix.endswith(".") or one.id == "unknown"
    made = cause("epsilon", "JAX has 1e-06.", path="ln", proven=True)
    assert (made.id, made.fix, made.path, made.proven) == ("epsilon", CATALOGUE["epsilon"].fix, "ln", True)
    with pytest.raises(KeyError):
        cause("no-such-cause", "")


def power(x, **s):
    return s["factor"] * x ** s["exponent"] + s["start"]


X = np.linspace(1.0, 2.0, 7)
SETTINGS = {
    "factor": tuple(Option(v, f"times {v}") for v in (1.0, 2.0, 3.0)),
    "exponent": tuple(Option(v, f"to the {v}") for v in (1, 2, 3)),
    "start": tuple(Option(v, f"from {v}") for v in (0.0, 1.0, 5.0)),
}


def test_the_matcher_returns_the_settings_that_differ_and_no_more():
    family = Family(lambda **s: power(X, **s), SETTINGS)
    (change,) = match(family, 2 * X**2, 2 * X**3) or ()
    assert (change.setting, change.theirs.value, change.ours.value) == ("exponent", 2, 3)
    two = match(family, 2 * X**2, 3 * X**2 + 1) or ()
    assert {c.setting for c in two} == {"factor", "start"}
    assert match(family, 2 * X**2, 2 * X**2) == []


def test_the_matcher_says_nothing_where_either_side_is_no_member():
    family = Family(lambda **s: power(X, **s), SETTINGS)
    assert match(family, np.sin(X), X) is None
    assert match(family, X, np.sin(X)) is None
    # three changes from the usual need a core
    assert match(family, 2 * X**3 + 5, 2 * X**3) is None
    whole = Family(lambda **s: power(X, **s), SETTINGS, ("factor", "exponent", "start"))
    assert [c.setting for c in match(whole, 2 * X**3 + 5, 2 * X**3) or ()] == ["start"]


def test_settings_that_do_not_go_together_are_left_out():
    def compute(**s):
        if s["factor"] == 2.0:
            raise ValueError
        return None if s["factor"] == 3.0 else power(X, **s)

    found = match(Family(compute, SETTINGS), X, X**2)
    assert [c.setting for c in found or ()] == ["exponent"]


def test_a_norm_names_only_causes_of_the_catalogue():
    settings = ("over", "scale", "eps", "centre", "place", "ddof", "bias")
    option = Option(("tail", 1), "")
    from jaxgrad.verify.port.diagnosis._matcher import Change

    assert {_normalization._name(Change(name, option, option)) for name in settings} <= CATALOGUE.keys()


def test_the_page_of_causes_is_the_catalogue():
    written = Path(__file__).parents[3] / "docs" / "causes.md"
    assert written.read_text() == _catalogue.page(), "write it with `make readme`"

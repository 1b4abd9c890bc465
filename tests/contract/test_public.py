"""Every public name is documented in the fixed order, typed, and exported on purpose."""

import inspect

import pytest

from tests.contract.house import EAGER, FACED, is_function, public_functions

ALIASES = {"wrt": "Wrt", "axis_name": "AxisName"}
SECTIONS = ("Args:", "Returns:", "Cost:", "Example:", "References:")
PUBLIC = public_functions()
FUNCTIONS = sorted(name for name, thing in PUBLIC.items() if is_function(thing))


def sections(function):
    """Return the headings of a docstring in their order."""
    lines = [line.strip() for line in inspect.getdoc(function).splitlines()]
    return [line for line in lines if line in {*SECTIONS, "Raises:"}]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_has_every_section_in_order(name):
    found = sections(PUBLIC[name])
    assert [heading for heading in found if heading != "Raises:"] == list(SECTIONS)
    if "Raises:" in found:
        assert found.index("Raises:") == found.index("Returns:") + 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_names_every_argument(name):
    arguments = inspect.getdoc(PUBLIC[name]).split("Args:")[1].split("Returns:")[0]
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        assert f"{star}{parameter.name}:" in arguments.replace("\\*", "*"), parameter.name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_is_a_doctest(name):
    example = inspect.getdoc(PUBLIC[name]).split("Example:")[1].split("References:")[0]
    assert ">>> " in example
    assert name.split(".")[1] in example


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_is_typed(name):
    signature = inspect.signature(PUBLIC[name])
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.split(".")[0] in FACED])
def test_help_shows_names_and_not_what_they_stand_for(name):
    shown = str(inspect.signature(PUBLIC[name]))
    assert all(f"{option}: '{alias}' = None" in shown for option, alias in ALIASES.items() if option in shown)
    assert "Sequence[str]" not in shown


@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_jitted_or_listed_as_eager(name):
    assert hasattr(PUBLIC[name], "programs") != (name in EAGER)


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(FUNCTIONS)))
def test_record_is_documented(name):
    assert inspect.getdoc(PUBLIC[name])

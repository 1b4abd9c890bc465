"""Every public name is documented in the fixed order, typed, and exported on purpose."""

import inspect
import itertools

import pytest

import jaxgrad
from tests.contract.house import EAGER, FACED, is_function, public_functions

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

ALIASES = {"wrt": "Wrt", "axis_name": "AxisName"}
SECTIONS = ("Args:", "Returns:", "Cost:", "Example:", "References:")
SHARED = ("loss_fn", "losses_fn", "fun", "field_fn", "params", "*data", "*batch", "has_aux", "wrt", "axis_name")
"""The arguments that mean the same in every function; the docstring of the package explains them."""
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
def test_no_section_of_a_docstring_is_empty(name):
    lines = [line.strip() for line in inspect.getdoc(PUBLIC[name]).splitlines()]
    headings = [i for i, line in enumerate(lines) if line in {*SECTIONS, "Raises:"}]
    for start, end in itertools.pairwise([*headings, len(lines)]):
        assert sum(map(str.isalpha, "".join(lines[start + 1 : end]))) >= 8, lines[start]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_leads_to_what_is_said_once(name):
    arguments = inspect.getdoc(PUBLIC[name]).split("Args:")[1].split("Returns:")[0]
    shared = set(inspect.signature(PUBLIC[name]).parameters) & {argument.strip("*") for argument in SHARED}
    assert arguments.count("``help(jaxgrad)``") == bool(shared)


def test_the_package_explains_the_arguments_that_functions_share():
    explained = inspect.getdoc(jaxgrad)
    assert all(f"``{argument}``" in explained for argument in SHARED)
    own = [part for part in explained.split("\n\n") if part.startswith("``")]
    assert [part.splitlines()[0].strip("`") for part in own] == [
        "loss_fn",
        "params",
        "*data",
        "has_aux",
        "wrt",
        "axis_name",
    ]
    assert min(map(len, own)) > 300


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if ".value_and_" in name])
def test_what_gives_the_value_too_has_the_name_of_the_gradient(name):
    family, own = name.split(".")
    assert own == "value_and_grad" or f"{family}.{own.removeprefix('value_and_')}" in FUNCTIONS


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

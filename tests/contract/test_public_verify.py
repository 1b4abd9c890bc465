"""What `jaxgrad.verify` offers is documented in the fixed order, and a door that is imported late hides nothing."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgrad import cli, verify
from tests.contract.house import is_function

SECTIONS = ("Args:", "Returns:", "Raises:", "Cost:", "Example:", "References:")
PUBLIC = {name: getattr(verify, name) for name in verify.__all__}
FUNCTIONS = sorted(name for name, thing in PUBLIC.items() if is_function(thing))
RECORDS = sorted(name for name, thing in PUBLIC.items() if dataclasses.is_dataclass(thing))
NOTHING = ("insert_cases", "write_run")
"""Functions that write a file and return nothing."""
CLASSES = sorted(name for name, thing in PUBLIC.items() if inspect.isclass(thing))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_has_every_section_in_order(name):
    documented = inspect.getdoc(PUBLIC[name])
    lines = [line.strip() for line in documented.splitlines()]
    found = [line for line in lines if line in SECTIONS]
    assert found == [heading for heading in SECTIONS if heading in found]
    needed = {"Returns:", "Cost:", "Example:", "References:"} - ({"Returns:"} if name in NOTHING else set())
    needed |= {"Args:"} if inspect.signature(PUBLIC[name]).parameters else set()
    assert needed <= set(found)
    headings = [i for i, line in enumerate(lines) if line in SECTIONS]
    for start, end in itertools.pairwise([*headings, len(lines)]):
        assert sum(map(str.isalpha, "".join(lines[start + 1 : end]))) >= 8, lines[start]
    example = documented.split("Example:")[1].split("References:")[0]
    assert ">>> " in example
    assert name in example


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_named_and_typed(name):
    documented, signature = inspect.getdoc(PUBLIC[name]), inspect.signature(PUBLIC[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        assert f"{star}{parameter.name}:" in documented, parameter.name
        assert parameter.annotation is not parameter.empty


def members(cls):
    """Yield a class's own public methods and properties."""
    for name, thing in vars(cls).items():
        if not name.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, property | classmethod)):
            yield name, thing


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_and_what_it_can_do_are_documented(name):
    assert inspect.getdoc(PUBLIC[name])
    for own, thing in members(PUBLIC[name]):
        assert inspect.getdoc(thing), own


@pytest.mark.parametrize("name", [n for n in RECORDS if n != "Pair"])
def test_every_field_of_a_record_says_what_it_is(name):
    tree = ast.parse(Path(inspect.getfile(PUBLIC[name])).read_text())
    (cls,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    for node, following in itertools.pairwise([*cls.body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign):
            says = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert says, node.target.id


def test_types_for_readers_are_those_for_python():
    tree = ast.parse(Path(verify.__file__).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    places = {name: module for module, names in verify.PLACES.items() for name in names}
    assert seen == places
    assert sorted(places) == sorted(verify.__all__)
    assert set(places) <= set(dir(verify))


def test_the_command_line_imports_public_names_only():
    for path in Path(cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxgrad.verify"):
                private = [part for part in node.module.split(".") if part.startswith("_")]
                assert not private, f"{path.name}: {node.module}"


LIGHT = """
import sys
from jaxgrad.cli._app import call
call({arguments!r})
heavy = {{"jax", "flax", "optax", "torch", "numpy", "rich"}} & set(sys.modules)
print(sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["check", "-h"], ["verify", "--list"]])
def test_a_text_that_computes_nothing_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments=arguments)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
    assert "Hessian-vector product" in done.stdout or "Usage: jaxgrad" in done.stdout


@pytest.mark.parametrize("name", ["jaxgrad", "jaxgrad.verify"])
def test_what_a_door_lacks_is_an_attribute_error(name):
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018

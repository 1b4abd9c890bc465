"""One algorithm, one name, four places: the function, its twin, its tests, its benchmark row."""

import importlib
import inspect
from pathlib import Path

import pytest

from tests.contract.house import EAGER, FAMILIES, NO_ROW, NO_TWIN, is_function, public_functions, stem

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

ROOT = Path(__file__).parents[2]
FUNCTIONS = {name: function for name, function in public_functions().items() if is_function(function)}
TWINNED = [name for name in FUNCTIONS if name not in NO_TWIN]


def positional(function):
    """Return the names of the arguments that may be given by position."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_facades_name_the_same(family):
    ours = importlib.import_module(f"jaxgrad.{family}").__all__
    theirs = importlib.import_module(f"torch_ref.{family}").__all__
    expected = {name for name in ours if f"{family}.{name}" in FUNCTIONS and f"{family}.{name}" not in NO_TWIN}
    assert set(theirs) == expected
    assert sorted(ours) == list(ours)


@pytest.mark.parametrize("name", TWINNED)
def test_twin_has_the_same_positional_arguments(name):
    family, function = name.split(".")
    twin = getattr(importlib.import_module(f"torch_ref.{family}"), function)
    assert positional(twin) == positional(FUNCTIONS[name])


@pytest.mark.parametrize("name", TWINNED)
def test_twin_lies_in_the_file_of_the_same_name(name):
    family, function = name.split(".")
    twin = getattr(importlib.import_module(f"torch_ref.{family}"), function)
    assert stem(twin) == stem(FUNCTIONS[name])


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_algorithm_has_a_test_module(name):
    family = name.split(".")[0]
    module = ROOT / "tests" / family / f"test_{stem(FUNCTIONS[name])}.py"
    assert module.is_file(), f"{module.relative_to(ROOT)} is missing"
    assert name.split(".")[1] in module.read_text()


@pytest.mark.parametrize("algorithm", sorted({f"{name.split('.')[0]}.{stem(f)}" for name, f in FUNCTIONS.items()}))
def test_algorithm_has_a_benchmark_row(algorithm):
    family, own = algorithm.split(".")
    if algorithm in NO_ROW:
        return
    names = [n.split(".")[1] for n, f in FUNCTIONS.items() if n.startswith(f"{family}.") and stem(f) == own]
    rows = [row.name for row in importlib.import_module(f"bench.{family}").ROWS]
    assert any(row.startswith(name) for row in rows for name in [*names, own]), f"bench/{family}.py has no row of {own}"


def test_exemptions_name_what_exists():
    files = {f"{name.split('.')[0]}.{stem(f)}" for name, f in FUNCTIONS.items()}
    assert set(EAGER) | set(NO_TWIN) <= set(public_functions())
    assert set(NO_ROW) <= files
    assert all(reason for reasons in (EAGER, NO_TWIN, NO_ROW) for reason in reasons.values())

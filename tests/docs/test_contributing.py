"""The skeleton of CONTRIBUTING.md: its function, twin and tests, copied, pass; the other files say the same version."""

import re
import runpy
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import pytest

import jaxgrad
import torch_ref.gradient

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"^   ```python\n(.*?)^   ```", TEXT, re.MULTILINE | re.DOTALL)
FUNCTION, TWIN, TESTS = (textwrap.dedent(code) for code in BLOCKS)


def test_the_skeleton_passes_its_own_tests(monkeypatch):
    made, twin, tests = {"__name__": "slope_along"}, {}, {}
    exec(compile(FUNCTION, "_slope_along.py", "exec"), made)
    exec(compile(TWIN, "twin.py", "exec"), twin)
    monkeypatch.setattr(jaxgrad.gradient, "slope_along", made["slope_along"], raising=False)
    monkeypatch.setattr(torch_ref.gradient, "slope_along", twin["slope_along"], raising=False)
    exec(compile(TESTS, "test_slope_along.py", "exec"), tests)
    ran = [test for name, test in tests.items() if name.startswith("test_")]
    assert len(ran) == 3
    for test in ran:
        test()


@pytest.mark.either_lane
def test_the_skeleton_has_every_section():
    found = re.findall(r"^    (\w+):$", FUNCTION, re.MULTILINE)
    assert found == ["Args", "Returns", "Raises", "Cost", "Example", "References"]


@pytest.mark.either_lane
def test_every_file_says_the_same_version():
    assert f"version: {jaxgrad.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert jaxgrad.__version__ in (ROOT / "CHANGELOG.md").read_text()
    assert "__version__" not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.either_lane
def test_the_changelog_lists_the_old_spellings():
    from jaxgrad._deprecated import NAMES, REMOVED_IN

    text = (ROOT / "CHANGELOG.md").read_text()
    assert REMOVED_IN in text
    missing = {old for names in NAMES.values() for old in names if old not in text}
    assert not missing


@pytest.mark.either_lane
def test_an_index_shows_the_readme_without_links_that_lead_nowhere(monkeypatch):
    # hatchling is there only while a package is built
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    alone = runpy.run_path(str(ROOT / "hatch_build.py"))["alone"]

    text = "![a picture](docs/a.png) [a page](docs/a.md#b), [here](#c), [away](https://example.org/d)"
    assert alone(text) == " a page, [here](#c), [away](https://example.org/d)"
    assert alone(text, "https://host/at").startswith(
        "![a picture](https://host/at/docs/a.png) [a page](https://host/at/"
    )
    shown = alone((ROOT / "README.md").read_text())
    assert all(link.startswith(("https://", "#")) for link in re.findall(r"\]\(([^)]*)\)", shown))


@pytest.mark.either_lane
def test_the_pins_of_the_lowest_lane_are_the_bounds():
    pins = runpy.run_path(str(ROOT / "tests" / "release" / "lowest.py"))["pins"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(pins(())) == {bound.replace(">=", "==") for bound in project["dependencies"]}
    assert set(pins(())) < set(pins(("test",)))
    assert any(pin.startswith("typer==") for pin in pins(("test",)))

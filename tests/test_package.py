"""What `import jaxgrad` gives before anything is called."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxgrad


def run(code):
    """Return what a fresh process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_verify_is_imported_when_it_is_asked_for():
    code = (
        "import sys, jaxgrad; print('jaxgrad.verify' in sys.modules, 'verify' in dir(jaxgrad));"
        " print(jaxgrad.verify.kinks.__name__, 'jaxgrad.verify' in sys.modules)"
    )
    assert run(code) == ["False", "True", "kinks", "True"]


def test_everything_else_is_there_and_nothing_more():
    assert {*jaxgrad.__all__, "verify", "__version__"} <= set(dir(jaxgrad))
    with pytest.raises(AttributeError, match="module 'jaxgrad' has no attribute 'hvp'"):
        jaxgrad.hvp  # noqa: B018


def test_the_version_is_written_once():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert "version" not in project["project"]
    source = Path(__file__).parents[1] / project["tool"]["hatch"]["version"]["path"]
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+)"$', source.read_text(), re.M) == [jaxgrad.__version__]

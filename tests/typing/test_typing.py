"""mypy and pyright take what is right, the README's examples and whole scripts too, and refuse what is wrong."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import BLOCKS

HERE = Path(__file__).parent
ACCEPTED = "accepted.py", "accepted_curvature.py"
REFUSED = "refused.py", "refused_curvature.py"
# what people would write at length, and what it imports
SCRIPTS = [
    HERE.parent / "scripts" / f"{name}.py"
    for name in (
        "data",
        "common",
        *(f"{kind}_{framework}" for kind in ("networks", "train") for framework in ("linen", "nnx", "equinox")),
    )
]
COMMANDS = {
    # a cache of its own: with other settings than those of the library's own check each would empty the other's
    "mypy": ["mypy", "--config-file", HERE / "mypy.ini", "--cache-dir", ".mypy_cache/typing", "--output", "json"],
    "pyright": ["pyright", "--outputjson", "--pythonpath", sys.executable],
}
INSTALLED = [name for name in COMMANDS if importlib.util.find_spec(name)]

# where one of them is installed the other must be too, so that a lost one is seen
pytestmark = pytest.mark.skipif(not INSTALLED, reason="mypy and pyright come with the extra dev")


def mypy_errors(output):
    """Return file, line and message of every error."""
    found = [json.loads(line) for line in output.splitlines()]
    return [(e["file"], e["line"], e["message"]) for e in found if e["severity"] == "error"]


def pyright_errors(output):
    """Return file, line and message of every error; pyright counts lines from 0."""
    found = json.loads(output)["generalDiagnostics"]
    return [(e["file"], e["range"]["start"]["line"] + 1, e["message"]) for e in found if e["severity"] == "error"]


@pytest.fixture(scope="module", params=COMMANDS)
def errors(request, tmp_path_factory):
    """Return the errors of a checker, a dictionary from line to message for each file."""
    readme = tmp_path_factory.mktemp("typing") / "readme.py"
    readme.write_text("\n".join(code for code, _ in BLOCKS))
    files = [*(HERE / name for name in (*ACCEPTED, *REFUSED)), readme, *SCRIPTS]
    command = [sys.executable, "-m", *COMMANDS[request.param], *files]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # there are errors, and nothing else went wrong
    found = {file.name: {} for file in files}
    for file, line, message in {"mypy": mypy_errors, "pyright": pyright_errors}[request.param](done.stdout):
        found[Path(file).name][line] = message
    return found


@pytest.mark.xdist_group("typing")
@pytest.mark.parametrize("file", [*ACCEPTED, "readme.py", *(file.name for file in SCRIPTS)])
def test_takes_what_is_right(errors, file):
    assert errors[file] == {}


@pytest.mark.xdist_group("typing")
@pytest.mark.parametrize("file", REFUSED)
def test_refuses_every_line_that_is_wrong_and_no_other(errors, file):
    lines = (HERE / file).read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("  # refused")}
    assert wrong
    assert {number: lines[number - 1] for number in wrong - set(errors[file])} == {}
    assert {number: message for number, message in errors[file].items() if number not in wrong} == {}

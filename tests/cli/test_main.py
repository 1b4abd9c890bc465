"""The command line as a process: the script, packages that are not installed, Ctrl-C."""

import json
import signal
import subprocess
import sys

import pytest

import jaxgrad
from tests.cli.processes import ENVIRONMENT, start

WITHOUT = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Block())
from jaxgrad.cli import main
sys.argv = ["jaxgrad", *{arguments!r}]
main()
"""


def run(*command):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False
    )


@pytest.mark.parametrize("module", ["jaxgrad", "jaxgrad.cli"])
def test_version(module):
    done = run("-m", module, "--version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"jaxgrad {jaxgrad.__version__} (jax ")
    assert done.stderr == ""


@pytest.mark.torch
def test_a_process_sets_x64_itself():
    done = run("-m", "jaxgrad.cli", "verify", "--case", "F6", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert {row["case"] for row in json.loads(done.stdout)} == {"F6"}
    assert done.stderr.startswith("F6 ")


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("torch", "error: PyTorch is not installed, and verify needs it: pip install 'jaxgrad[torch]'\n"),
        ("typer", "error: typer is not installed, and the command line needs it: pip install 'jaxgrad[cli]'\n"),
    ],
)
def test_a_missing_package_is_one_line_and_exits_2(package, words):
    done = run("-c", WITHOUT.format(package=package, arguments=["verify", "--case", "H2"]))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


@pytest.mark.slow  # what comes before the first row and after the last, in the same command, is in test_interrupt.py
@pytest.mark.torch
def test_ctrl_c_exits_130_without_a_traceback():
    with start("-m", "jaxgrad.cli", "verify", "--case", "F6,H*") as process:
        # the first row, of the cheapest case, shows that the run is under way
        assert process.stderr.readline().startswith("F6 ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err

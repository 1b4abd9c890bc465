"""The examples of the README, and those of the tour of the families, run as printed, in one process and in order."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", re.DOTALL)
TOUR, README = (BLOCK.findall((ROOT / page).read_text()) for page in ("docs/tour.md", "README.md"))
BLOCKS = [*TOUR, *README]


def test_examples_print_what_they_say(compiled_quickly):
    """Users have x64 off and standard promotion, and so have these."""
    names = {}
    promotion = (jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.enable_x64(False))
    with contextlib.ExitStack() as stack:
        for setting in promotion:
            stack.enter_context(setting)
        for code, expected in BLOCKS:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, "README.md", "exec"), names)
            assert printed.getvalue() == expected, code


def test_every_family_has_an_example():
    import jaxgrad

    text = "".join(code for code, _ in TOUR)
    # beside one block that defines the losses, one on several devices, and one on what a function closes over
    assert len(TOUR) == 3 + len(jaxgrad.__all__)
    assert len(README) == 1
    assert all(f"jaxgrad.{family}." in text for family in jaxgrad.__all__)


BLOCKED = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize("blocked", [("torch", "typer", "sklearn", "skimage", "matplotlib", "safetensors")])
def test_the_library_works_without_the_extras(blocked):
    code = (
        BLOCKED.format(blocked=blocked)
        + "import jaxgrad\n"
        + BLOCKS[0][0]
        + BLOCKS[1][0]
        + "print(sys.modules.get('torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == BLOCKS[1][1] + "None\n"


def test_importing_jaxgrad_starts_no_device_and_no_torch():
    code = (
        "import sys, jaxgrad, jaxgrad.verify; from jax._src import xla_bridge;"
        " print('torch' in sys.modules, xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

"""A training script for linen, NNX and equinox gives the numbers of the same by hand, in fewer lines."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.scripts import lines

HERE = Path(__file__).parent
FRAMEWORKS = ["linen", "nnx", "equinox"]
PARTS = ["sam", "private", "top_eigenvalue", "poisson", "maml", "two_losses"]

# modules are written for JAX as it comes; a running mean of NNX is in float32 even where all else is in float64
pytestmark = pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning")


# three pairs, one of each framework, the others by hand: the eighteen of them take a minute
PAIRS = [
    pytest.param(framework, part, marks=[] if i % 2 == 1 and i // 2 == k else [pytest.mark.slow])
    for i, part in enumerate(PARTS)
    for k, framework in enumerate(FRAMEWORKS)
]


def installed(framework):
    if framework == "equinox":
        pytest.importorskip("equinox")
    return framework


@pytest.fixture
def as_users_have_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(("framework", "part"), PAIRS)
def test_gives_the_numbers_of_the_same_by_hand(framework, part, as_users_have_it, compiled_quickly):
    """In float64, where each part trains and its own assertions hold."""
    names = (f"tests.scripts.{kind}_{installed(framework)}" for kind in ("train", "by_hand"))
    ours, by_hand = map(importlib.import_module, names)
    got, want = getattr(ours, part)(), getattr(by_hand, part)()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), got, want)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_has_fewer_lines_than_the_same_by_hand(framework):
    ours, by_hand = (lines.count((HERE / f"{kind}_{framework}.py").read_text()) for kind in ("train", "by_hand"))
    assert [name for name in ours if name] == [name for name in by_hand if name] == PARTS
    assert ours[""] <= 0.8 * by_hand[""], (ours, by_hand)
    for part in PARTS:
        assert ours[part] <= by_hand[part]


@pytest.mark.parametrize(
    ("framework", "parts"),
    # a part of one script here, the whole of each by hand: the six parts of one take a quarter of a minute
    [("linen", PARTS[2:3]), *(pytest.param(framework, PARTS, marks=pytest.mark.slow) for framework in FRAMEWORKS)],
)
def test_runs_as_a_user_runs_it(framework, parts):
    """In float32, in a process of its own."""
    settings = {"JAX_ENABLE_X64": "0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    environment = os.environ | settings | cache
    command = [sys.executable, "-W", "error", "-m", f"tests.scripts.train_{installed(framework)}", *parts]
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == parts


def test_lines_of_code_are_those_that_do_something():
    source = """
'''A docstring,

of three lines.'''

import os

# a comment
def f(x):
    '''Another.'''
    return (
        x
    )


y = f(1)
"""
    assert lines.count(source) == {"": 5, "f": 4}

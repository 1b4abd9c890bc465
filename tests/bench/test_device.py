"""Which platform ``python -m bench --device`` computes on, where there is another one that JAX would choose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.torch

ANOTHER = """
import sys
import jax, typer
from jax._src import xla_bridge
from bench import _device

class Another:
    platform = "another"

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        return getattr(self.client, name)

# of a higher priority than the CPU's, as those of accelerators are; its devices are the CPU's own
xla_bridge.register_backend_factory("another", lambda: Another(xla_bridge.make_cpu_client()), priority=900)
devices, first = jax.devices, []

def asked(*which):
    first.append(jax.config.jax_platforms)
    return devices(*which)

jax.devices = asked
if "late" in sys.argv:
    jax.devices()
try:
    print("chosen", _device.check_device("bench", None if "none" in sys.argv else "cpu"))
except typer.Exit as error:
    print("left with", error.exit_code)
print("platforms", first[0], "default", jax.default_backend())
"""


def choose(*arguments):
    command = [sys.executable, "-c", ANOTHER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def environment():
    """Without a choice of the caller's own."""
    return {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}


def test_the_cpu_is_chosen_before_jax_has_settled_on_another():
    """Functions choose their way by the default platform, which is settled when devices are first asked for."""
    assert choose()[0] == ["chosen cpu", "platforms cpu default cpu"]


def test_the_other_one_is_there():
    assert choose("none")[0] == ["chosen another", "platforms None default another"]


def test_where_jax_has_settled_by_then_that_is_told():
    said, error = choose("late")
    assert said == ["left with 2", "platforms None default another"]
    assert "bench: --device cpu: JAX's default in this process is another by now" in error
    assert "Traceback" not in error

"""Two environments through the disk: neither side needs the other's framework or model."""

import errno
import os
import re
import subprocess
import sys

import pytest

from jaxgrad.cli._app import call
from jaxgrad.verify.port._spec_file import read_spec
from tests.cli.processes import ENVIRONMENT

SPEC = """
import numpy as np

def torch_model():
    import torch
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                               torch.nn.Flatten(), torch.nn.Linear(4 * 4 * 6, 3)).eval()

def jax_model():
    import flax.linen as fnn
    return fnn.Sequential([fnn.Conv(4, (3, 3), padding=1), fnn.BatchNorm(use_running_average=True, epsilon=EPSILON),
                           fnn.relu, lambda x: x.reshape(len(x), -1), fnn.Dense(3)])

rng = np.random.default_rng(0)
spec = dict(torch=torch_model, jax=jax_model, loss="cross_entropy",
            batch=(rng.normal(size=(3, 2, 4, 6)), rng.integers(0, 3, 3)))
"""

WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Blocker())
from jaxgrad.cli._app import call
code = call(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, epsilon in (("spec", "1e-5"), ("other", "1e-3")):
        (folder / f"{name}.py").write_text(SPEC.replace("EPSILON", epsilon))
    # torch's side never makes the JAX model
    (folder / "only_torch.py").write_text(SPEC + "\nspec['jax'] = None\n")
    assert call(["dump", "torch", f"{folder}/only_torch.py", "-o", f"{folder}/torch"]) == 0
    return folder


def test_jax_is_dumped_where_torch_is_not_installed_and_agrees(folder):
    arguments = ["dump", "jax", "spec.py", "--like", "torch", "-o", "jax"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert call(["diff", f"{folder}/jax", f"{folder}/torch"]) == 0


def test_another_definition_is_found_through_the_disk(folder, capsys):
    assert call(["dump", "jax", f"{folder}/other.py", "--like", f"{folder}/torch", "-o", f"{folder}/apart"]) == 0
    assert call(["diff", f"{folder}/apart", f"{folder}/torch"]) == 1
    assert "the models differ" in capsys.readouterr().out


def test_a_flipped_bit_ends_with_2(folder, tmp_path, capsys):
    data = bytearray((folder / "torch" / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tensors.safetensors").write_bytes(data)
    (tmp_path / "run.json").write_bytes((folder / "torch" / "run.json").read_bytes())
    assert call(["diff", str(tmp_path), str(folder / "torch")]) == 2
    assert call(["dump", "jax", f"{folder}/spec.py", "--like", str(tmp_path), "-o", f"{folder}/never"]) == 2
    assert capsys.readouterr().err.count("checksum differs") == 2
    assert not (folder / "never").exists()


def test_a_disk_that_fills_leaves_the_old_report(folder, tmp_path, monkeypatch, capsys):
    report = tmp_path / "report.html"
    report.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    run = f"{folder}/torch"
    assert call(["diff", run, run, "--format", "html", "-o", str(report)]) == 2
    assert re.search(r"could not write .*: No space left on device; the old file is unchanged", capsys.readouterr().err)
    assert report.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["numpy", "spec.py", "-o", "x"], "dump takes torch or jax"),
        (["jax", "spec.py", "-o", "x"], "dump torch first"),
        (["torch", "spec.py", "--like", "torch", "-o", "x"], "--like belongs to dump jax"),
        (["jax", "spec.py", "--like", "nothing", "-o", "x"], "is missing"),
        (["torch", "spec.py", "-o", "spec.py"], "is a file; name a folder"),
        (["torch", "spec.py", "-o", "x", "--what", "step"], "step cannot be dumped"),
        (["torch", "spec.py", "-o", "x", "--dtype", "float8"], "--dtype takes float64"),
        (["jax", "only_torch.py", "--like", "torch", "-o", "x"], "gives no jax"),
    ],
)
def test_bad_dumps_are_refused(folder, monkeypatch, capsys, arguments, match):
    monkeypatch.chdir(folder)
    assert call(["dump", *arguments]) == 2
    assert match in capsys.readouterr().err


def test_a_quantity_that_one_run_lacks_is_told_and_no_agreement(folder, capsys):
    assert call(["dump", "torch", f"{folder}/only_torch.py", "-o", f"{folder}/less", "--what", "value"]) == 0
    assert call(["diff", f"{folder}/less", f"{folder}/torch"]) == 2
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) > 1}
    assert rows["gradient"] == rows["hvp"] == "failed"
    # the table is as wide as the folder's name leaves room for
    words = " ".join(out.split())
    assert "dump both with the same --what" in words
    assert "nothing differs, but gradient, hvp, input_gradient could not be computed" in words


@pytest.mark.parametrize("body", ["import sys; sys.exit(0)", "1 / 0", "spec = dict(torch=1)"])
def test_a_spec_that_stops_is_exit_2(tmp_path, capsys, body):
    (tmp_path / "spec.py").write_text(body)
    assert call(["check", f"{tmp_path}/spec.py"]) == 2
    assert capsys.readouterr().err.startswith("error: the spec")


def test_a_spec_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "beside_the_spec.py").write_text("value = 'mse'")
    (tmp_path / "spec.py").write_text("import beside_the_spec\nspec = dict(loss=beside_the_spec.value)")
    assert read_spec(tmp_path / "spec.py") == {"loss": "mse"}


@pytest.mark.parametrize("command", [["kinks", "--format", "xml"], ["doctor", "--format", "zzz"]])
def test_unknown_formats_are_refused(command, capsys):
    assert call(command) == 2
    assert "--format must be one of text, json, junit, html; got" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_standard_output_is_exit_2(folder):
    command = [sys.executable, "-m", "jaxgrad.cli", "diff", "torch", "torch"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: could not write the report: No space left on device\n"

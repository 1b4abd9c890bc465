"""What torch.compile makes of a contender, what broke, and which libraries are missing."""

import importlib.util
import json
import shutil
import time

import jax
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench import _agreement, _modules, _rivals, _rows, _session, _show
from bench.__main__ import app
from bench._curvature_networks import cnn, mlp
from bench._inputs import to_torch
from bench._row import Contender, Problem, Row

pytestmark = pytest.mark.torch

X = torch.arange(3.0)


def ours():
    return Contender("jaxgrad", "jax", lambda: X.numpy() * 2)


def theirs(name="torch.func", run=lambda: X * 2):
    return Contender(name, "torch", run)


@pytest.fixture
def compiler(monkeypatch):
    """Let torch.compile be a function of the test's, which is told whether a whole graph is asked for."""

    def given(compile_with):
        monkeypatch.setattr(torch, "compile", lambda run, fullgraph: compile_with(run, fullgraph))
        monkeypatch.setattr(torch._dynamo, "reset", lambda: None)

    return given


def test_the_functional_form_is_compiled_whole(compiler):
    compiler(lambda run, whole: run)
    form, note = _rivals.compiled_form([ours(), theirs("torch.autograd", lambda: X), theirs()])
    assert (form.name, form.run().tolist()) == ("torch.compile", [0.0, 2.0, 4.0])
    assert note == "of torch.func, one graph"


def test_what_broke_is_said_and_the_parts_are_compiled(compiler):
    def parts(run, whole):
        if whole:
            message = "Unsupported: jax.tree\nand more"
            raise RuntimeError(message)
        return run

    compiler(parts)
    form, note = _rivals.compiled_form([ours(), theirs()])
    assert form is not None
    assert note == "of torch.func, no whole graph: RuntimeError: Unsupported: jax.tree"


def test_a_compiler_that_cannot_run_says_why(compiler):
    def breaks(run, whole):
        message = "no C++ compiler"
        raise RuntimeError(message)

    compiler(breaks)
    form, note = _rivals.compiled_form([ours(), theirs()])
    assert form is None
    assert note.startswith("RuntimeError: no C++ compiler (of torch.func; a whole graph: ")


def test_rows_without_torch_or_with_a_form_of_their_own_get_none():
    assert _rivals.compiled_form([ours()]) == (None, "")
    assert _rivals.compiled_form([ours(), theirs(), theirs("torch.compile")]) == (None, "")


def test_missing_libraries_are_named_as_pip_calls_them(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "curvlinops" else find(name))
    assert "curvlinops-for-pytorch" in _rivals.missing()
    assert "curvlinops-for-pytorch" not in _rivals.versions()
    assert _rivals.versions()["matfree"][0].isdigit()


def test_a_run_names_them_and_the_form_stays_with_its_reason(monkeypatch, compiler):
    def breaks(run, whole):
        message = "no C++ compiler"
        raise RuntimeError(message)

    compiler(breaks)
    monkeypatch.setattr(_rivals, "LIBRARIES", {"no_such_library": "no-such-library"})
    done = one_row(monkeypatch)
    assert done.exit_code == 0, done.stderr
    assert "not installed, and left out: no-such-library" in done.stderr
    assert "torch.compile did not run: RuntimeError: no C++ compiler" in done.stdout


def test_a_row_names_a_library_that_it_lacks_and_a_library_that_breaks():
    def breaks():
        message = "jax.core has no such name"
        raise AttributeError(message)

    rivals = [
        _rivals.of_library("no_such_library", "two of it", breaks),
        _rivals.of_library("no_such_library", "one of it", breaks),
        _rivals.of_library("json", "broken", breaks),
        _rivals.of_library("json", "there", lambda: lambda: X * 2),
    ]
    problem = Problem([ours(), *rivals], absent={"third": "too slow"})
    assert [c.name for c in problem.contenders] == ["jaxgrad", "there"]
    notes = _show.notes_of({"absent": problem.absent, "label": "three", "agreement": {}, "contenders": []})
    assert notes == [
        "third did not run: too slow",
        "two of it, one of it did not run: not installed",
        "broken did not run: AttributeError: jax.core has no such name",
    ]


@pytest.mark.parametrize("network", [mlp((3, 4, 2), 2), cnn(4, (2, 3), 4, 2)], ids=["dense", "convolutional"])
def test_a_module_keeps_the_digits_of_float64(network):
    params, inputs = to_torch((network.params, network.inputs), np.float64)
    module = network.module_torch(params)
    torch.testing.assert_close(module(inputs), network.model_torch(params, inputs), rtol=1e-13, atol=1e-13)
    kept = _modules.nested(module.named_parameters(), lambda p: p.detach())
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), kept, params)))


OF_LIBRARIES = [
    ("opacus", "per_example", "clipped_sum", ["opacus ghost", "opacus hooks"]),
    ("opacus", "per_example", "norms", ["opacus ghost"]),
    ("opacus", "per_example", "gradients", ["opacus hooks"]),
    ("backpack", "per_example", "clipped_sum", ["backpack"]),
    ("backpack", "per_example", "norms", ["backpack"]),
    ("backpack", "per_example", "gradients", ["backpack"]),
    ("jax_privacy", "per_example", "clipped_sum", ["jax-privacy"]),
    ("folx", "nth", "laplacian", ["folx"]),
    ("higher", "meta", "maml_gradient", ["higher"]),
    ("torchopt", "meta", "maml_gradient", ["torchopt"]),
    ("curvlinops", "curvature", "ggn_product", ["curvlinops"]),
]


@pytest.mark.parametrize(("library", "family", "name", "contenders"), OF_LIBRARIES)
@pytest.mark.filterwarnings("ignore")  # what a library and its own dependencies warn of
def test_what_a_library_computes_is_what_we_compute(library, family, name, contenders):
    pytest.importorskip(library, exc_type=ImportError)
    row = next(row for row in _rows.rows_of(family) if row.name == name)
    with jax.numpy_rank_promotion("allow"):  # folx promotes
        found = _agreement.exactly(lambda dtype: row.build(row.sizes(True, dtype)))
    for contender in contenders:
        for a, b in zip(jax.tree.leaves(found["jaxgrad"]), jax.tree.leaves(found[contender]), strict=True):
            np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("library", "family", "name", "contenders"), OF_LIBRARIES)
def test_a_row_without_a_library_names_its_contenders(library, family, name, contenders, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == library else find(asked))
    row = next(row for row in _rows.rows_of(family) if row.name == name)
    problem = row.build(row.sizes(True))
    assert {n: problem.absent[n] for n in contenders} == dict.fromkeys(contenders, "not installed")
    assert not {c.name for c in problem.contenders} & set(contenders)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_torch_itself_compiles_a_row():
    row = _rows.rows_of("gradient")[0]
    form, note = _rivals.compiled_form(row.build(row.sizes(True)).contenders)
    assert form is not None, note
    assert note == "of torch.func, one graph"


def one_row(monkeypatch, *more):
    """Run a row of ours and torch with what torch.compile makes of it, and return how that ended."""
    row = Row("good", "three", lambda size: Problem([ours(), theirs()]))
    monkeypatch.setattr(_rows, "rows_of", lambda family: [row] if family == "gradient" else [])
    monkeypatch.setattr(_session._ceilings, "ceilings", lambda *_: {"flops_per_s": 1e9, "bytes_per_s": 1e9})
    return CliRunner().invoke(app, ["gradient", "--quick", "--rivals", "--rounds", "3", "--no-scaling", *more])


def test_a_compiled_form_that_computes_something_else_is_not_timed(monkeypatch, compiler):
    compiler(lambda run, whole: lambda: run() + 0.01)
    done = one_row(monkeypatch)
    assert done.exit_code == 1
    assert "gradient.good: three: the contenders do not agree" in done.stderr
    assert "torch.compile loses" in done.stderr


def test_compiling_is_a_part_of_the_first_call(monkeypatch, compiler, tmp_path):
    def slowly(run, whole):
        time.sleep(0.2)
        return run

    compiler(slowly)
    done = one_row(monkeypatch, "--out", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    first = {line["name"]: line["first_call_s"] for line in row["contenders"]}
    assert first["torch.compile"] > 0.2 > first["torch.func"]

"""Contenders that raise, at whatever moment, or give nothing to compare: they are told, and the others go on."""

import contextlib
import functools
import itertools
import json

import jax.numpy as jnp
import pytest
from typer.testing import CliRunner

from bench import _measure, _run, _session
from bench.__main__ import app
from bench._row import Contender, Problem, Program, Row
from tests.bench.own_rows import QUICK, as_torch, breaks, doubled, give, small_row

pytestmark = pytest.mark.torch


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs rows of the test's own, and returns how that ended and the result."""

    def given(*own, more=()):
        give(monkeypatch, *own)
        done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path), *more])
        return done, json.loads((tmp_path / "results.json").read_text())

    return given


def for_a_while(run, calls):
    """Return a call that runs out of memory after some calls."""
    count = itertools.count()

    def limited():
        if next(count) >= calls:
            message = "of 9 bytes"
            raise MemoryError(message)
        return run()

    return limited


def tiring(ours, rival):
    """Return a row whose contenders break after some calls, each counted from its own build."""

    def build(size):
        x = jnp.ones(3, size.dtype)
        contenders = [
            Contender("jaxgrad", "jax", for_a_while(functools.partial(doubled, x), ours)),
            Contender("rival", "torch", for_a_while(functools.partial(as_torch, x), rival)),
            Contender("other", "torch", lambda: as_torch(x)),
        ]
        return Problem(contenders)

    return Row("tiring", "{count} numbers", build, {"count": 3})


# a first call, one to be compared, one to know how long it takes, and then the rounds
MOMENTS = [0, 2, 3, 20]


@pytest.mark.parametrize("calls", MOMENTS)
def test_ours_that_breaks_costs_its_row_and_says_why(run, calls):
    done, record = run(tiring(calls, 10**9), small_row("good", as_torch))
    assert done.exit_code == 1
    assert record["failed"] == [
        {"key": "gradient.tiring: 3 numbers", "why": "ran out of memory (MemoryError: of 9 bytes)"}
    ]
    assert [row["name"] for row in record["rows"]] == ["good"]


@pytest.mark.parametrize("calls", MOMENTS)
def test_a_rival_that_breaks_costs_nobody_else_anything(run, calls):
    done, record = run(tiring(10**9, calls))
    assert done.exit_code == 0, done.stderr
    (row,) = record["rows"]
    assert row["absent"] == {"rival": "ran out of memory (MemoryError: of 9 bytes)"}
    assert [line["name"] for line in row["contenders"]] == ["jaxgrad", "other"]
    assert row["best_rival"]["name"] == "other"


@pytest.mark.parametrize(
    ("call", "absent", "note"),
    [
        (breaks, {"rival": "TypeError: no such network"}, None),
        (doubled, {}, "its program alone does not compile: TypeError: no such network"),
    ],
)
def test_a_rival_of_jax_whose_program_does_not_compile_costs_nobody_else_anything(run, call, absent, note):
    def build(size):
        x = jnp.ones(3, size.dtype)
        ours = Contender("jaxgrad", "jax", lambda: doubled(x), Program(doubled, (x,)))
        return Problem([ours, Contender("rival", "jax", lambda: call(x), Program(breaks, (x,)))])

    done, record = run(Row("good", "{count} numbers", build, {"count": 3}))
    assert done.exit_code == 0, done.stderr
    (row,) = record["rows"]
    assert row["absent"] == absent
    assert [line["note"] for line in row["contenders"][1:]] == ([note] if note else [])


def narrow(error):
    """Return a rival that has no float64, and is wrong by an error in float32."""

    def rival(x):
        if x.dtype == jnp.float64:
            message = "float32 alone"
            raise TypeError(message)
        return as_torch(x) + error

    return rival


@pytest.mark.parametrize("options", [{}, {"agreement": 1e-2}], ids=["verifier", "row"])
def test_a_rival_without_float64_must_agree_all_the_same(run, options):
    done, record = run(small_row("right", narrow(0.0), **options), small_row("wrong", narrow(0.1), **options))
    assert done.exit_code == 1
    assert [row["name"] for row in record["rows"]] == ["right"]
    assert [line["name"] for line in record["rows"][0]["contenders"]] == ["jaxgrad", "rival"]
    assert "the contenders do not agree" in record["failed"][0]["why"]
    assert "rival" in record["failed"][0]["why"]


def test_a_rival_that_is_not_among_those_compared_is_not_timed(run):
    def build(size):
        x = jnp.ones(size.count, size.dtype)
        contenders = [Contender("jaxgrad", "jax", lambda: doubled(x)), Contender("other", "jax", lambda: doubled(x))]
        large = Contender("large", "jax", lambda: doubled(x) + 1)
        return Problem([*contenders, *([large] if size.count > 2 else [])])

    row = Row("sized", "{count} numbers", build, {"count": 5}, judged={"count": 2})
    done, record = run(row, more=["--full", "--no-memory"])
    assert done.exit_code == 0, done.stderr
    assert record["rows"][0]["absent"] == {"large": "it gave no answer to compare"}


def test_a_row_that_nobody_else_computes_says_so(run):
    def build(size):
        x = jnp.ones(3, size.dtype)
        return Problem([Contender("jaxgrad", "jax", lambda: doubled(x))], Contender("unit", "jax", lambda: doubled(x)))

    done, record = run(Row("alone", "{count} numbers", build, {"count": 3}))
    assert done.exit_code == 0, done.stderr
    assert record["rows"][0]["agreement"]["float64_error"] is None
    assert "nobody here computes it beside ours: its numbers were compared with nothing" in done.stdout


def test_a_full_disk_ends_the_run_at_once_where_a_row_is_weighed_beside_the_next(tmp_path, monkeypatch):
    class Peaks:
        def __init__(self, *_):
            pass

        @contextlib.contextmanager
        def weighing(self, asked):
            yield {}

    built = []

    def full(path, record):
        message = f"could not write {path}: No space left on device; nothing was written there"
        raise OSError(message)

    def counted(name):
        row = small_row(name, as_torch)
        return Row(name, row.template, lambda size: built.append(name) or row.build(size), row.full)

    monkeypatch.setattr(_session, "Peaks", Peaks)
    monkeypatch.setattr(_session._results, "save", full)
    give(monkeypatch, *(counted(name) for name in ("one", "two", "three", "four")))
    done = CliRunner().invoke(app, [*QUICK, "--memory", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.count("No space left on device") == 1
    assert "Exit" not in done.stderr
    assert set(built) == {"one", "two"}


OWN = {"jaxgrad": 2.0, "jaxgrad, dense": 1.0, "curvature.solve": 1.0, "jax.grad": 0.5, "torch.func": 3.0}


def test_another_way_through_this_library_is_no_rival():
    timings = [_measure.Timing(name, 1.0, [seconds] * 6) for name, seconds in OWN.items()]
    best = _run.best_rival(timings, "jaxgrad", "jax.grad")
    assert best["name"] == "torch.func"
    assert _run.best_rival(timings[:-1], "jaxgrad", "jax.grad") is None

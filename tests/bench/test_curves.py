"""Curves: the exponent of a power, its interval, and sizes that break."""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from bench import _curves, _results, _rows, _session
from bench.__main__ import app
from bench._curves import CURVES, Curve, exponent, run_curve
from bench._row import Contender, Problem, Program, Row
from bench._run import Settings

pytestmark = pytest.mark.torch


def test_the_exponent_of_a_power_is_found():
    slope, low, high = exponent([(n, 3 * n**1.7) for n in (1, 2, 4, 8)])
    assert slope == pytest.approx(1.7)
    assert low == pytest.approx(high) == pytest.approx(1.7)
    assert exponent([(1, 1), (2, 2)]) is None


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    rng, sizes, held = np.random.default_rng(0), np.array([1, 2, 4, 8, 16]), 0
    for _ in range(1000):
        _, low, high = exponent(list(zip(sizes, sizes**2 * np.exp(0.1 * rng.normal(size=5)), strict=True)))
        held += low <= 2 <= high
    assert 930 <= held <= 970


def test_every_family_has_a_curve_over_sizes_of_its_row():
    assert {curve.family for curve in CURVES if curve.small} == set(_rows.FAMILIES)
    for curve in CURVES:
        row = curve.find()
        for sizes, quick in ((curve.small, True), (curve.full, False)):
            assert len(sizes) >= 3 or (quick and not sizes)
            assert list(sizes) == sorted(set(sizes))
            for size in sizes:
                assert set(curve.change(size)) <= set(row.full), curve
                assert str(size) in row.label(quick, **curve.change(size)), curve


def build(size):
    if size.side == 13:
        message = "RESOURCE_EXHAUSTED: Out of memory"
        raise RuntimeError(message)
    x = jnp.ones((size.side, size.side), jnp.float32)
    return Problem([Contender("jaxgrad", "jax", lambda: x @ x, Program(lambda a: a @ a, (x,)))])


@pytest.fixture
def curve(monkeypatch):
    row = Row("product", "{side}", build, {"side": 4})
    monkeypatch.setattr(_rows, "rows_of", lambda family: [row])
    monkeypatch.setattr(_curves, "rows_of", lambda family: [row])
    return Curve("gradient", "product", "side", (8,), (8, 13, 16, 32), lambda n: {"side": n})


def test_a_curve_has_times_compile_times_and_operations_and_a_size_that_breaks_is_told(curve):
    found = run_curve(curve, Settings(True, "cpu", "float32"))
    assert [point["size"] for point in found["points"]] == [8, 16, 32]
    assert found["exponents"]["flops"][0] == pytest.approx(3, abs=0.01)
    assert min(point["compile_s"] for point in found["points"]) > 0
    assert found["broken"] == {"13": "ran out of memory (RuntimeError: RESOURCE_EXHAUSTED: Out of memory)"}


def test_curves_are_in_the_results_and_one_that_breaks_costs_the_others_nothing(curve, tmp_path, monkeypatch):
    gone = Curve("gradient", "no such row", "side", (8,), (8,), lambda n: {})
    monkeypatch.setattr(_curves, "CURVES", [gone, curve])
    monkeypatch.setattr(_session._ceilings, "ceilings", lambda *_: {"flops_per_s": 1e9, "bytes_per_s": 1e9})
    done = CliRunner().invoke(app, ["gradient", "--quick", "--rounds", "3", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "gradient.no such row over side: StopIteration" in done.stderr
    assert "gradient.product over side, ms: 8: " in done.stdout
    assert "13 did not run: ran out of memory" in done.stdout
    record = _results.load("bench", tmp_path / "results.json")
    assert record["curves"][0]["axis"] == "side"
    assert "gradient.product over side" in (tmp_path / "report.html").read_text()

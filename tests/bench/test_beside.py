"""What others take of the processor is told."""

import subprocess
import sys
import time

import pytest

from bench import _beside, _show
from tests.bench.recorded import row

pytestmark = pytest.mark.torch


def spin(seconds):
    """Keep a core busy."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.skipif(not _beside.STAT.exists(), reason="Linux alone tells what all processes take")
def test_what_another_process_takes_is_told_and_our_own_work_is_not(monkeypatch):
    monkeypatch.setattr(_beside.os, "cpu_count", lambda: 1)
    busy, own = iter([100.0, 101.5]), iter([7.0, 7.5])
    monkeypatch.setattr(_beside, "_busy", lambda: next(busy))
    monkeypatch.setattr(_beside, "_own", lambda: next(own))
    clock = {}
    with _beside.beside(clock, "rounds"):
        spin(0.05)
    assert clock["rounds"] == pytest.approx(1.0 / 0.05, rel=0.5)


@pytest.mark.skipif(not _beside.STAT.exists(), reason="Linux alone tells what all processes take")
def test_the_system_counts_a_process_beside():
    clock = {}
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as process:
        with _beside.beside(clock, "rounds"):
            time.sleep(0.5)
        process.kill()
    assert clock["rounds"] > 0.0


def test_a_system_that_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(_beside, "STAT", tmp_path / "none")
    clock = {}
    with _beside.beside(clock, "rounds"):
        pass
    assert clock == {}


def test_a_row_beside_much_else_says_so():
    said = "other programs took 40% of the processor meanwhile: do not trust these times"
    assert said in _show.notes_of({**row(), "beside": 0.4})
    assert said not in " ".join(_show.notes_of({**row(), "beside": 0.01}))

"""Two workers: every case once, its rows whole, whoever computes it; a worker that dies is a row, never a hang."""

import io
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import time

import pytest

from jaxgrad import verify
from jaxgrad.cli._app import call
from jaxgrad.verify.cases import _side_by_side
from jaxgrad.verify.cases._fault_injection import Plant
from tests.verify.fakes import RIGHT, WRONG

OPTIONS = {"device": None, "plant": None, "figures": None}


def last_to_the_other(workers):
    """Wait until the second process has taken a case."""
    end = time.monotonic() + 60
    while not workers.rows:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_both_compute_every_case_once_and_the_planted_error_arrives():
    cases = verify.select("F3,F4,F6")
    with _side_by_side.Workers(cases, **OPTIONS | {"plant": Plant("F6")}) as workers:
        last_to_the_other(workers)
        rows = [list(workers.run_case(case)) for case in cases]
        assert "F6" in workers.rows
        assert "F3" not in workers.rows
    assert [[row.case for row in some] for some in rows] == [["F3"], ["F4"], ["F6"]]
    assert [some[0].agrees for some in rows] == [True, True, False]
    assert rows[2][0].reason.startswith("value: float64: ")
    assert workers.process.returncode is not None


def test_what_cannot_run_there_is_refused_here():
    written = io.BytesIO()
    _side_by_side.answer("F6", OPTIONS | {"plant": ["F6", "scale"]}, written)
    written.seek(0)
    with _side_by_side.Workers([], **OPTIONS) as workers:
        workers.rows["F6"] = queue.SimpleQueue()
        workers.rows["F6"].put(pickle.load(written))
        with pytest.raises(verify.CannotRun, match="no leaf 'scale'"):
            list(workers.run_case(*verify.select("F6")))
    assert pickle.load(written) is None


def test_a_process_that_dies_is_a_row_and_the_others_are_computed_here():
    first, second = verify.select("F3,F4")
    with _side_by_side.Workers([first, second], **OPTIONS) as workers:
        last_to_the_other(workers)
        os.kill(workers.process.pid, signal.SIGSEGV)
        (computed,), (lost,) = list(workers.run_case(first)), list(workers.run_case(second))
    assert computed.agrees
    assert (lost.case, lost.verdict) == ("F4", "differ")
    assert lost.reason.startswith("the process that computed it ended by signal 11")


def test_a_case_that_the_other_process_cannot_find_is_computed_here():
    with _side_by_side.Workers([RIGHT], **OPTIONS) as workers:
        assert all(row.agrees for row in workers.run_case(RIGHT))
        assert not workers.rows


def test_the_other_process_ends_in_the_middle_of_its_work_where_its_input_does():
    """As it does when this process dies, however it dies: the system closes its pipes."""
    with subprocess.Popen(
        [sys.executable, "-P", str(_side_by_side.WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        # the imports that follow the first order take seconds, and the orders for which it then waits never come
        out, err = process.communicate(json.dumps(sys.path).encode() + b"\n", timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize(("cores", "both"), [(2, True), (1, False)])
def test_one_core_has_one_worker(cores, both, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert _side_by_side.is_worthwhile([RIGHT] * 45, None) is both


def test_an_accelerator_has_one_worker_and_so_have_few_cases():
    class Accelerator:
        platform = "gpu"

    assert not _side_by_side.is_worthwhile([RIGHT] * 45, Accelerator())
    assert not _side_by_side.is_worthwhile([RIGHT] * (_side_by_side.MANY - 1), None)


def test_settings_of_torch_are_left_alone():
    import torch

    from jaxgrad.verify.cases._run import run_case

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for row in run_case(RIGHT):
            assert row.agrees
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_command_has_two_workers_where_they_are_worth_it(monkeypatch, capsys):
    started = []

    class Workers(_side_by_side.Workers):
        def __enter__(self):
            started.append(self)
            return self

    monkeypatch.setattr(verify, "select", lambda _: [RIGHT, WRONG])
    monkeypatch.setattr(_side_by_side, "is_worthwhile", lambda *_: True)
    monkeypatch.setattr(_side_by_side, "Workers", Workers)
    assert call(["verify"]) == 1
    _, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines()] == ["T1", "T1", "T2", "T2", "T2"]
    (workers,) = started
    assert workers.process.returncode == -signal.SIGKILL

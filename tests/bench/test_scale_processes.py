"""Processes of ``python -m bench.scale``: how they end together, and where they come from; no JAX runs in most."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import typer

from bench import _scale_cluster, _scale_group

SOLDIER = """
import json, os, sys, time
told = json.loads(sys.argv[1])
print("noise of a library")
print("[1]", 2, "null", sep="\\n", flush=True)
sys.stdout.buffer.write(bytes([255, 10]))
print(json.dumps({"form": told["index"]}), flush=True)
if "doing" in told:
    print(json.dumps(told["doing"]), flush=True)
for _ in range(told.get("beats", 0)):
    time.sleep(0.2)
    print(json.dumps("on"), flush=True)
time.sleep(told.get("sleep", 0))
print("a page of a library", file=sys.stderr)
if "words" in told:
    print(told["words"], file=sys.stderr)
sys.exit(told.get("code", 0))
"""


def run_group(*told, time_out=1.0, at_start=lambda index, process: None):
    heard = []
    settings = [{"index": i, "local": 1, "address": "127.0.0.1:1", **one} for i, one in enumerate(told)]
    command = (sys.executable, "-S", "-c", SOLDIER)
    ended = _scale_group.run_group(
        settings, time_out, lambda kind, found: heard.append((kind, found)), at_start, command
    )
    return [str(one) for one in ended], sorted(heard)


def test_what_they_say_is_heard():
    assert run_group({}, {}) == ([], [("form", 0), ("form", 1)])


def test_a_killed_process_ends_the_others_and_is_named(monkeypatch):
    monkeypatch.setattr(_scale_group, "MARGIN", 0.2)
    processes = {}

    def at_start(index, process):
        processes[index] = process
        if index == 1:
            os.kill(process, signal.SIGKILL)

    start = time.monotonic()
    ended, _ = run_group({"sleep": 60}, {"sleep": 60}, time_out=0.5, at_start=at_start)
    assert time.monotonic() - start < 10
    assert ended == ["process 1 was killed by SIGKILL", "process 0 was silent for 0.7 s more, and was killed"]
    for process in processes.values():
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_one_that_hangs_is_not_given_the_time_out_twice(monkeypatch):
    """Once the service has told of it the time-out is over."""
    monkeypatch.setattr(_scale_group, "MARGIN", 0.2)
    start = time.monotonic()
    told = {"code": 1, "words": f"F1202 client.h:80] {_scale_group.FATAL}. More"}
    assert run_group(told, {"sleep": 60}, time_out=40.0)[0] == [
        "process 0 lost another process, as JAX's coordination service found",
        "process 1 was silent for 0.2 s more, and was killed",
    ]
    assert time.monotonic() - start < 20


def test_processes_that_live_and_wait_for_each_other_are_ended(monkeypatch):
    """Their heartbeats go on, so nobody else tells; one that goes on is not silent."""
    monkeypatch.setattr(_scale_group, "MARGIN", 0.2)
    monkeypatch.setattr(_scale_group, "LONGEST", 1.5)
    start = time.monotonic()
    ended, _ = run_group({"sleep": 60, "doing": "inr on 4 devices"}, {"sleep": 60}, time_out=0.5)
    assert 1.7 < time.monotonic() - start < 20
    assert ended == [
        "process 0 did nothing for 1.7 s (inr on 4 devices), and was killed",
        "process 1 did nothing for 1.7 s (starting), and was killed",
    ]
    assert run_group({"sleep": 3.0}, {"beats": 15}, time_out=0.5)[0] == []


def test_a_sign_of_life_is_given_once_a_second(monkeypatch, capsys):
    times = iter((99.0, 100.0, 100.1, 100.2, 100.9, 101.3))
    monkeypatch.setattr(_scale_group, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(_scale_group, "_last", {"words": "", "at": 0.0})
    _scale_group.alive()
    assert capsys.readouterr().out == ""
    for words in ("one", None, "two", None, None):
        _scale_group.alive(words)
    assert capsys.readouterr().out == '"one"\n"two"\n"two"\n'


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"code": 1, "words": "bench.scale: the disk is full"}, "process 0 the disk is full"),
        (
            {"code": 1, "words": f"F1202 client.h:80] {_scale_group.FATAL}. More"},
            "process 0 lost another process, as JAX's coordination service found",
        ),
        ({"code": 7}, "process 0 ended with status 7: a page of a library"),
    ],
)
def test_one_line_of_what_a_process_wrote(told, words):
    assert run_group(told)[0] == [words]


def test_processes_go_with_the_one_that_started_them():
    """Also where it is killed, and can do nothing any more: the pipe from it closes."""
    text = """
import sys
from bench import _scale_group
told = [{"index": 0, "local": 1, "address": "127.0.0.1:1"}]
worker = "import time; from bench._scale_group import end_with_parent; end_with_parent();"
worker += "print('{\\"up\\": 1}', flush=True); time.sleep(60)"
_scale_group.run_group(told, 5, print, lambda i, p: print(p, flush=True), (sys.executable, "-c", worker))
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as parent:
        process = int(parent.stdout.readline())
        assert parent.stdout.readline() == "up 1\n"
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_alive(process)


def _is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
SRUN = SLURM | {"SLURM_STEP_NUM_TASKS": "2"}


@pytest.mark.parametrize(
    ("kind", "environment", "place"),
    [
        ("auto", {}, None),
        ("auto", SLURM | {"SLURM_PROCID": "1"}, (1, None)),
        ("auto", SLURM | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
        ("none", SLURM | {"SLURM_PROCID": "1"}, None),
        ("auto", SLURM | {"SLURM_PROCID": "0", "PMI_SIZE": "2", "PMI_RANK": "1"}, (1, "mpi4py")),
        ("slurm", SLURM | {"SLURM_PROCID": "0", "PMI_SIZE": "2", "PMI_RANK": "1"}, (0, None)),
        # srun that starts programs of MPI, and mpiexec of MPICH over two nodes
        ("auto", SRUN | {"SLURM_PROCID": "1", "PMI_SIZE": "2", "PMI_RANK": "1"}, (1, None)),
        ("auto", SRUN | {"SLURM_PROCID": "1", "PMI_SIZE": "8", "PMI_RANK": "5"}, (5, "mpi4py")),
        # the shell of an interactive allocation of two tasks
        ("auto", SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ("auto", {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (1, "mpi4py")),
        (
            "auto",
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1"},
            (1, None),
        ),
        ("auto", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ("auto", {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}, (3, None)),
    ],
)
def test_the_variables_of_clusters(kind, environment, place, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "PMI_", "OMPI_", "KUBERNETES_", "JOB_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _scale_cluster.found("bench", kind) == place


def test_a_cluster_that_is_not_there(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    for kind, words in (("slurm", "its variables are not in the environment"), ("fog", "--cluster takes auto, none")):
        with pytest.raises(typer.Exit):
            _scale_cluster.found("bench", kind)
        assert words in capsys.readouterr().err


def test_the_environment_of_a_process(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_dump_to=a")
    environment = _scale_group._environment({"local": 2})
    assert environment["XLA_FLAGS"] == "--xla_dump_to=a"
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert json.dumps(environment)
    assert "JAX_PLATFORMS" not in set(_scale_group._environment({"local": 0})) - set(os.environ)

"""``python -m bench.scale``: processes that compute together, one that is lost, clusters, and what wrong usage gets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
import typer
from typer.testing import CliRunner

import bench.scale
from bench import _scale_cluster, _scale_record
from tests.bench.test_uses import app

ROOT = Path(__file__).parents[2]
TRAINING = ["--only", "training", "--devices", "2", "--processes", "2", "--time-out", "20"]


def command():
    """Return the command; its name in a list of the module would make every test of it one that needs torch."""
    return [sys.executable, "-m", bench.scale.__name__]


def environment(**more):
    """Programs that run a few times need no fast machine code, and what another test has compiled is there."""
    settings = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    clusters = ("SLURM_", "PMI_", "OMPI_", "KUBERNETES_", "JOB_", "JAX_COORD")
    return {name: value for name, value in os.environ.items() if not name.startswith(clusters)} | settings | more


def run(*arguments, **more):
    line = [*command(), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, env=environment(**more))


def digest(folder):
    return json.loads((folder / "scale.json").read_text())["training"]["digest"]


def test_two_processes_train_together_and_go_on(tmp_path):
    done = run(*TRAINING, "--steps", 3, "--keep-every", 2, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training     2 processes, 2 devices: steps 0 to 3" in done.stdout
    record = _scale_record.load("test", tmp_path / "scale.json")
    assert record["training"]["processes"] == 2
    assert {path.name for path in (tmp_path / "training" / "steps").iterdir()} == {"2", "3"}
    again = run(*TRAINING, "--steps", 3, "--keep-every", 2, "--out", tmp_path, "--resume")
    assert (again.returncode, again.stdout) == (0, "")


def test_the_accelerators_of_this_machine_in_one_process(tmp_path):
    """They are what JAX chooses by itself: here a CPU, so that the plan and the record can be seen."""
    done = run("--local-devices", 0, "--quick", "--only", "inr", "--rounds", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (form,) = _scale_record.load("test", tmp_path / "scale.json")["forms"]
    assert (form["processes"], form["devices"], form["device_kind"]) == (1, 1, "cpu")
    line = ["--local-devices", 0, "--quick", "--only", "inr", "--rounds", 1, "--out", tmp_path, "--resume"]
    again = run(*line)
    assert (again.returncode, again.stdout) == (0, "")
    # as if it had been begun where there are four
    record = _scale_record.load("test", tmp_path / "scale.json")
    record["run"]["names"] = ["inr", "training"]
    record["forms"][0]["devices"] = 4
    _scale_record.save(tmp_path / "scale.json", record)
    line[line.index("inr")] = "inr,training"
    other = run(*line)
    assert (other.returncode, other.stdout) == (2, "")
    assert other.stderr.splitlines()[-1] == (
        "bench.scale: process 0 --resume: --out holds a run of 1 processes with 4 devices in all, and here are 1"
        " processes with 1 devices in all; start as many, or name a new folder"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("index", "name"), [(0, "SIGKILL"), (1, "SIGKILL"), (0, "SIGSTOP"), (1, "SIGSTOP")])
def test_a_lost_process_ends_the_run_which_goes_on_bit_equal(index, name, tmp_path):
    options = [*TRAINING, "--steps", "40", "--keep-every", "4"]
    folder, whole = tmp_path / "lost", tmp_path / "whole"
    with subprocess.Popen(
        [*command(), *options, "--out", str(folder)], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    ) as running:
        pids = [int(re.fullmatch(r"process \d: pid (\d+)\n", running.stderr.readline())[1]) for _ in range(2)]
        while not (folder / "training" / "steps" / "8").exists():
            assert running.poll() is None
            time.sleep(0.005)
        os.kill(pids[index], getattr(signal, name))
        start = time.monotonic()
        _, error = running.communicate(timeout=120)
    # 20 s of heartbeats, and for the silent one 20 more and a margin
    assert time.monotonic() - start < (10 if name == "SIGKILL" else 60)
    assert running.returncode == 1
    assert len(error.splitlines()) == 1, error
    other = "was killed by SIGKILL" if name == "SIGKILL" else "was silent for"
    assert f"process {index} {other}" in error
    assert f"process {1 - index} lost another process" in error
    assert re.search(r"; step \d+ of the training is kept: the same command with --resume goes on from there", error)
    resumed = run(*options, "--out", folder, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert not re.search("steps 0 to", resumed.stdout), resumed.stdout
    assert run(*options, "--out", whole).returncode == 0
    assert digest(folder) == digest(whole)


@pytest.mark.slow
def test_every_form_on_1_2_4_8_devices_and_2_and_4_processes(tmp_path):
    done = run("--rounds", 2, "--steps", 3, "--out", tmp_path, "--time-out", 120)
    assert done.returncode == 0, done.stderr
    record = _scale_record.load("test", tmp_path / "scale.json")
    counted = {(one["form"], one["processes"], one["devices"]) for one in record["forms"]}
    plan = {1: (1, 2, 4, 8), 2: (2, 4, 8), 4: (4, 8)}
    names = ("clipped_sum", "curvature", "maml", "inr", "fsdp")
    assert counted == {(name, count, size) for name in names for count, sizes in plan.items() for size in sizes}
    assert len(record["forms"]) == 9 * (4 * 3 + 1)
    assert max(one["error"] for one in record["forms"]) <= 1e-12
    for one in record["forms"]:
        if one["form"] == "clipped_sum" and one["placement"] == "shard_map" and one["devices"] > 1:
            assert one["collectives"] == {"all-reduce": {"count": 1, "bytes": one["gradient_bytes"] + 16}}
    assert {one["devices"] for one in record["predictions"]} == {1, 8, 64, 256}


FAKE_KUBERNETES = """
from types import SimpleNamespace as N
from jax._src.clusters.k8s_cluster import K8sCluster
def load_incluster_config():
    K8sCluster._namespace = classmethod(lambda cls: "here")
config = N(load_incluster_config=load_incluster_config)
class CoreV1Api:
    def list_namespaced_pod(self, namespace, field_selector):
        owner = N(controller=True, kind="Job")
        pod = N(metadata=N(name="p", labels={"job-name": "scale"}, owner_references=[owner]), spec=N(subdomain="pods"))
        return N(items=[pod])
class BatchV1Api:
    def read_namespaced_job(self, name, namespace):
        assert (name, namespace) == ("scale", "here")
        return N(metadata=N(name=name, labels={}), spec=N(parallelism=2))
client = N(CoreV1Api=CoreV1Api, BatchV1Api=BatchV1Api, exceptions=N(ApiException=OSError))
"""


def variables(kind, index, port, folder):
    """Return what the launcher of a cluster sets, for two processes on this machine."""
    if kind == "slurm":
        names = {"PROCID": index, "LOCALID": index, "NTASKS": 2, "JOB_ID": 4711, "STEP_NODELIST": "localhost"}
        return {f"SLURM_{name}": str(value) for name, value in names.items()} | {"JAX_COORDINATOR_PORT": port}
    if kind == "ompi":
        names = {"RANK": index, "LOCAL_RANK": index, "SIZE": 2}
        uri = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911", "JAX_COORDINATOR_PORT": port}
        return {f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()} | uri
    (folder / "kubernetes.py").write_text(FAKE_KUBERNETES)
    names = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": str(index), "HOSTNAME": "localhost"}
    # the name of a pod is known to the cluster's own DNS alone
    address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
    return names | address | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "ompi", "k8s"])
def test_joins_a_cluster(kind, tmp_path):
    """The variables are made up, the detection is JAX's, and the two processes meet."""
    port = _scale_cluster.free_address().rpartition(":")[2]
    arguments = ["--only", "training", "--steps", "3", "--time-out", "60", "--out", str(tmp_path / "run")]

    def start(index, *more):
        own = environment(**variables(kind, index, port, tmp_path))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command(), *arguments, *more], **pipes, text=True, cwd=ROOT, env=own)

    started = [start(index) for index in range(2)]
    said = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "training     2 processes, 2 devices: steps 0 to 3" in said[0][0]
    assert said[1][0] == ""
    # what is done is done: the first process alone knows that, and tells the other
    again = [start(index, "--resume") for index in range(2)]
    assert [(process.communicate(timeout=240)[0], process.returncode) for process in again] == [("", 0)] * 2
    about = tmp_path / "run" / "scale.json"
    kept = about.read_text()
    about.write_text(kept.replace('"processes": 2', '"processes": 3'))
    other = [start(index, "--resume") for index in range(2)]
    for process in other:
        out, error = process.communicate(timeout=240)
        assert (out, process.returncode) == ("", 2)
        assert "holds a run of 3 processes with 2 devices in all, and here are 2 processes" in error.splitlines()[-1]
    about.write_text(kept)
    # as two processes that nobody's cluster has started
    assert run(*TRAINING, "--steps", 3, "--out", tmp_path / "own").returncode == 0
    assert digest(tmp_path / "own") == digest(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_an_interrupt_ends_all_of_them_with_one_line(number, words):
    with subprocess.Popen(
        [*command(), *TRAINING], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    ) as one:
        pids = [int(one.stderr.readline().split()[-1]) for _ in range(2)]
        one.send_signal(number)
        assert one.communicate(timeout=30)[1] == f"{words}\n"
    assert one.returncode == 128 + number
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def record(**changes):
    names = ["training"]
    settings = {"plan": [[2, [2]]], "names": names, "placements": ["shard_map"], "rounds": 20, "steps": 60}
    settings["keep_every"] = 10
    whole = {"environment": _scale_record.environment(), "run": settings | changes}
    return {**whole, "forms": [], "predictions": [], "training": None}


def invoke(arguments):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return CliRunner().invoke(app(bench.scale.main), arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--devices 0", "--devices takes whole numbers from 1 to 64 with commas between them; got '0'"),
        ("--devices 2,x", "--devices takes whole numbers"),
        ("--processes 65", "--processes takes whole numbers"),
        ("--processes 1", "--processes are those beside one"),
        ("--processes 3", "--processes 3 divides none of the numbers of devices: 1, 2, 4, 8"),
        ("--only clipped", "--only has no 'clipped'; did you mean clipped_sum? there are"),
        ("--only ,", "--only has no ''; there are clipped_sum"),
        ("--only fog", "--only has no 'fog'; there are clipped_sum"),
        ("--resume", "--resume goes on with the run in --out: name that folder"),
        ("--resume --out {empty}", "holds no run of this command"),
        ("--out {run} {same}", "holds a run; --resume goes on with it, or name a new folder"),
        ("--out {run} {same} --steps 61 --resume", "holds another run: steps 60 there, 61 here"),
        (
            "--out {run} {same} --processes 4 --devices 4 --resume",
            "holds another run: plan [[2, [2]]] there, [[4, [4]]] here, numbers of processes and of their devices, by"
            " which sums are rounded; write what is there, or name a new folder",
        ),
        ("--out {cut} {same} --resume", "is no JSON, or was cut short"),
        ("--out {other} {same} --resume", "is no result of python -m bench.scale, of version 1"),
        ("--out /proc/none/here", "cannot write to /proc/none/here"),
        ("--cluster fog", "--cluster takes auto, none, slurm, ompi, mpi4py, k8s; got 'fog'"),
        ("--time-out 1", "--time-out"),
        ("--time-out inf", "--time-out"),
        ("--local-devices 2", "--local-devices counts where a cluster has started the processes; here --devices does"),
    ],
)
def test_wrong_usage(arguments, message, tmp_path):
    folders = {name: tmp_path / name for name in ("empty", "run", "cut", "other")}
    for folder in folders.values():
        folder.mkdir()
    _scale_record.save(folders["run"] / "scale.json", record())
    whole = (folders["run"] / "scale.json").read_text()
    (folders["cut"] / "scale.json").write_text(whole[:200])
    (folders["other"] / "scale.json").write_text('{"schema": "jaxgrad-bench", "version": 1}')
    same = "--only training --processes 2 --devices 2 --quick"
    done = invoke(arguments.format(**folders, same=same).split())
    assert done.exit_code == 2, done.output
    assert message in done.stderr.replace("\n", " "), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_checkpoint_of_another_run_and_one_that_is_damaged(tmp_path):
    options = [*TRAINING, "--steps", 4, "--keep-every", 2, "--out", tmp_path]
    assert run(*options).returncode == 0
    path, about = tmp_path / "scale.json", tmp_path / "training" / "run.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"training": None}))
    kept = about.read_text()
    about.write_text(kept.replace('"steps": 4', '"steps": 5'))
    other = run(*options, "--resume")
    assert other.returncode == 2, other.stderr
    assert "holds a checkpoint of another run: steps 5 there, 4 here" in other.stderr.splitlines()[-1]
    about.write_text(kept)

    def tear(*steps):
        for step in steps:
            for file in (tmp_path / "training" / "steps" / step).rglob("*"):
                if file.is_file():
                    file.write_bytes(b"")

    # from the one before it come the same bits
    tear("4")
    damaged = run(*options, "--resume")
    assert damaged.returncode == 0, damaged.stderr
    assert "steps 2 to 4 (the checkpoint of step 4 could not be read), " in damaged.stdout
    assert digest(tmp_path) == whole["training"]["digest"]
    path.write_text(json.dumps(whole | {"training": None}))
    tear("2", "4")
    damaged = run(*options, "--resume")
    assert damaged.returncode == 2, damaged.stderr
    last = damaged.stderr.splitlines()[-1]
    assert "the checkpoint 2 in" in last
    assert "cannot be read as one of this run" in last
    assert "; start anew in another folder" in last


def test_a_record_that_is_damaged(tmp_path, capsys):
    path = tmp_path / "scale.json"
    _scale_record.save(path, record() | {"forms": [{"form": "inr"}]})
    with pytest.raises(typer.Exit):
        _scale_record.load("test", path)
    assert "scale.json is damaged: the file, forms[0] has no 'placement'" in capsys.readouterr().err

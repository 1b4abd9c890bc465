"""Runs on disk: what is written comes back, and what is not what was written is refused."""

import json
import os
import pickle
import resource
import signal
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.verify._files import write_atomically
from jaxgrad.verify.port.dumps._files import DumpError, _own_digest, read_run, write_run

GROUPS = {
    "gradient@float64": {"fc.weight": np.arange(6.0).reshape(2, 3), "../../etc/passwd": np.zeros(3)},
    "value@float64": {"loss": np.array(2.5), "steps": np.arange(4)},
}


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", GROUPS, {"framework": "torch", "seed": 0})
    return tmp_path / "run"


def test_what_is_written_comes_back(run):
    groups, meta = read_run(run)
    assert meta == {"framework": "torch", "seed": 0}
    assert {g: list(leaves) for g, leaves in groups.items()} == {g: list(leaves) for g, leaves in GROUPS.items()}
    for group, leaves in GROUPS.items():
        for path, leaf in leaves.items():
            np.testing.assert_array_equal(groups[group][path], leaf)
            assert groups[group][path].dtype == leaf.dtype


def test_names_of_leaves_are_never_paths(run):
    assert sorted(p.name for p in run.iterdir()) == ["run.json", "tensors.safetensors"]
    header = (run / "tensors.safetensors").read_bytes()
    assert b"passwd" not in header


def test_views_that_are_not_contiguous_are_written_whole(tmp_path):
    matrix = np.arange(12.0).reshape(3, 4)
    write_run(tmp_path / "r", {"g": {"t": matrix.T, "slice": matrix[:, ::2], "half": jnp.ones(3, jnp.bfloat16)}}, {})
    leaves = read_run(tmp_path / "r")[0]["g"]
    np.testing.assert_array_equal(leaves["t"], matrix.T)
    np.testing.assert_array_equal(leaves["slice"], matrix[:, ::2])
    assert leaves["half"].dtype == np.float32


def test_objects_are_not_written(tmp_path):
    with pytest.raises(TypeError, match="a/b: cannot write an array of object"):
        write_run(tmp_path / "r", {"g": {"a/b": np.array([object()])}}, {})


@pytest.mark.parametrize("length", [0, 7, 8, 60, -1])
def test_truncated_tensors_are_refused(run, length):
    path = run / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DumpError, match=r"cut short|checksum differs"):
        read_run(run)


def test_every_flipped_bit_of_the_tensors_is_noticed(run):
    path = run / "tensors.safetensors"
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(DumpError):
            read_run(run)


def test_every_flipped_bit_of_the_manifest_is_noticed_or_changes_nothing(run):
    path, good = run / "run.json", read_run(run)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            groups, meta = read_run(run)
        except DumpError:
            continue
        # a blank may have become another blank
        assert meta == good[1]
        assert {g: list(leaves) for g, leaves in groups.items()} == {g: list(leaves) for g, leaves in good[0].items()}


@pytest.mark.parametrize("meta", [None, 5, []])
def test_facts_of_another_kind_are_refused(run, meta):
    manifest = {**json.loads((run / "run.json").read_text()), "meta": meta}
    (run / "run.json").write_text(json.dumps({**manifest, "sha256": _own_digest(manifest)}))
    with pytest.raises(DumpError, match="not the manifest of a run"):
        read_run(run)


def test_a_device_is_written_to_and_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, lambda file: file.write(b"report"))
    assert os.read(reader, 100) == b"report"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_report_is_as_open_as_other_files(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "report", lambda file: file.write(b"report"))
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_changed_checksum_of_one_array_is_noticed(run):
    manifest = json.loads((run / "run.json").read_text())
    manifest["groups"]["gradient@float64"][0]["sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps({**manifest, "sha256": _own_digest(manifest)}))
    with pytest.raises(DumpError, match=r"fc\.weight is not the one that was written"):
        read_run(run)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not valid JSON"),
        ('{"format": 1', "not valid JSON"),
        ("[1]", "not the manifest of a run"),
        ('{"format": NaN}', "no JSON number"),
        ('{"format": 9, "meta": {}, "groups": {}, "tensors_sha256": ""}', "reads format 2"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_damaged_manifests_are_refused(run, text, match):
    (run / "run.json").write_text(text)
    with pytest.raises(DumpError, match=match):
        read_run(run)


def test_a_missing_run_says_what_it_is_not(tmp_path):
    with pytest.raises(DumpError, match=r"is missing: is .* a run of `jaxgrad dump`"):
        read_run(tmp_path / "nothing")


def test_a_pickle_is_refused_and_never_runs(run, tmp_path):
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (canary,)

    data = pickle.dumps(Hostile())
    for name in ("tensors.safetensors", "run.json"):
        kept = (run / name).read_bytes()
        (run / name).write_bytes(data)
        with pytest.raises(DumpError):
            read_run(run)
        (run / name).write_bytes(kept)
    assert not canary.exists()
    read_run(run)


@pytest.mark.parametrize(
    "header",
    [
        {"t0": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 8 * 2**40]}},
        {"t0": {"dtype": "F64", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"t0": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}},
        {"t0": {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]}},
        {"t0": 7},
    ],
)
def test_hostile_headers_are_refused(run, header):
    text = json.dumps(header).encode()
    (run / "tensors.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(DumpError, match="cut short or hostile"):
        read_run(run)


def test_a_header_longer_than_the_file_is_refused(run):
    (run / "tensors.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(DumpError, match="its header does not fit"):
        read_run(run)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit[1]))
    try:
        with pytest.raises(OSError, match=r"could not write .*report\.html: .*; the old file is unchanged"):
            write_atomically(path, lambda file: file.write(b"x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]

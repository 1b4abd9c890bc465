"""``jaxgrad fit``, ``render`` and ``blend`` end to end in small: what they leave, what they refuse, and going on."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxgrad.cli._app import call
from jaxgrad.fit import _run, _training
from jaxgrad.verify import _files
from tests.cli.processes import ENVIRONMENT
from tests.fit.pictures import gradient_picture, save
from tests.optimised import optimised

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

SMALL = [
    "--model",
    "siren",
    "--size",
    "16",
    "--width",
    "16",
    "--layers",
    "2",
    "--points",
    "64",
    "--learning-rate",
    "3e-3",
    "--steps",
    "110",
]
"""Three blocks of steps, the last of them short."""


@contextmanager
def as_in_a_process_of_its_own():
    """The tests are stricter than JAX is by itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
        yield


@pytest.fixture(autouse=True)
def _not_strict():
    with as_in_a_process_of_its_own():
        yield


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """The file of a picture that is not square."""
    return save(tmp_path_factory.mktemp("pictures") / "slopes.png", gradient_picture())


@pytest.fixture(scope="module")
def fitted(picture, tmp_path_factory):
    """The folder of a finished run, which is only looked at."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with as_in_a_process_of_its_own(), optimised(fully=False):
        assert call(["fit", str(picture), "-o", str(folder), *SMALL]) == 0
    return folder


def test_a_fit_leaves_panel_weights_and_record(fitted):
    record = json.loads((fitted / "record.json").read_text())
    assert record["settings"]["image"] == "slopes.png"
    assert record["notes"] == ["cut to its middle, 20 x 20 of 20 x 24 pixels", "scaled to 16 x 16"]
    assert len(record["losses"]) == record["steps"] == 110
    assert [step for step, _ in record["psnrs"]] == [50, 100, 110]
    assert record["losses"][0] > 0.5 > 2 * record["loss"]
    assert record["psnrs"][-1][1] == pytest.approx(record["psnr_mean"], abs=1e-3)
    assert record["psnr_mean"] > 40
    assert record["ceiling"] > 120
    assert {"jax", "optax", "python", "device"} <= set(record["versions"])
    with Image.open(fitted / "panel.png") as panel:
        panel.load()
        assert panel.size == (1500, 760)
        colours = np.asarray(panel.convert("RGB"))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 300
    assert {path.name for path in fitted.iterdir()} == {
        "panel.png",
        "record.json",
        "run.json",
        "steps",
        "weights.safetensors",
    }


def test_the_weights_are_those_of_the_fit(fitted, tmp_path):
    """The file alone gives the picture back: kernels lie in it as they are, and the offset is the mean's."""
    arrays = load_file(fitted / "weights.safetensors")
    omegas = json.loads((fitted / "run.json").read_text())["network"]
    x = np.linspace(-1, 1, 16)
    z = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    for i in range(3):
        z = z @ arrays[f"params/layers_{i}/kernel"] + arrays[f"params/layers_{i}/bias"]
        z = np.sin(omegas["hidden_omega" if i else "first_omega"] * z) if i < 2 else z
    assert call(["render", str(fitted), "--size", "16", "-o", str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as image:
        found = np.asarray(image) / 255
    np.testing.assert_allclose(np.clip(z + arrays["offset"], 0, 1).reshape(16, 16, 3), found, atol=0.6 / 255)
    record = json.loads((fitted / "record.json").read_text())
    middle = gradient_picture()[:, 2:22] / 255
    np.testing.assert_allclose((z + arrays["offset"]).mean(0), middle.mean((0, 1)), atol=5e-3)
    assert record["psnr_none"] == pytest.approx(record["psnr_mean"], abs=1e-3)


@pytest.mark.parametrize(("size", "shape"), [("2x", (32, 32)), ("9x40", (9, 40)), ("1", (1, 1))])
def test_a_run_is_rendered_at_any_size(fitted, tmp_path, size, shape, capsys):
    out = tmp_path / "a.tiff"
    assert call(["render", str(fitted), "--size", size, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{shape[0]} x {shape[1]} pixels, of a field that was fitted to 16 x 16")
    with Image.open(out) as image:
        assert image.size == shape[::-1]
        large = np.asarray(image) / 255
    # means of blocks of a finer picture of the same area are the coarse picture's pixels
    call(["render", str(fitted), "--size", "1x1", "--out", str(out)])
    if size == "2x":
        np.testing.assert_allclose(large.mean((0, 1)), gradient_picture()[:, 2:22].mean((0, 1)) / 255, atol=0.01)


def write_network(run, fitted, network):
    """Write settings and weights as a version does that gives the network other options."""
    plain = json.loads((fitted / "run.json").read_text()) | {"network": network}
    (run / "run.json").write_text(json.dumps(plain))
    about = json.dumps({"settings": {name: part for name, part in plain.items() if name != "command"}})
    save_file(load_file(fitted / "weights.safetensors"), run / "weights.safetensors", {"jaxgrad": about})


def test_a_run_is_drawn_with_the_options_that_its_network_was_fitted_with(fitted, tmp_path):
    from jaxgrad.fit._render import load

    write_network(tmp_path, fitted, {"first_omega": 4.0, "hidden_omega": 20.0})
    _, field, _ = load(tmp_path)
    x = np.float32([[0.1, -0.6], [0.9, 0.3]])
    layers = [field.params[f"layers_{i}"] for i in range(3)]
    for layer, omega in zip(layers[:2], (4.0, 20.0), strict=True):
        x = np.sin(omega * (x @ layer["kernel"] + layer["bias"]))
    wanted = x @ layers[2]["kernel"] + layers[2]["bias"]
    points = np.float32([[0.1, -0.6], [0.9, 0.3]])
    np.testing.assert_allclose(field.field_fn(field.params, points), wanted, atol=2e-5)


class Stopped(BaseException):
    """What a kill is in a process that goes on."""


def test_a_run_goes_on_with_the_same_numbers(picture, fitted, tmp_path, monkeypatch, capsys):
    """Stopped after the first block, it ends with the weights and losses of the run that was not, bit by bit."""
    folder = tmp_path / "run"
    arguments = ["fit", str(picture), "-o", str(folder), *SMALL]

    def stop(_):
        raise Stopped

    monkeypatch.setattr("jaxgrad.cli._training._lines", lambda say: stop)
    with pytest.raises(Stopped):
        call(arguments)
    monkeypatch.undo()
    assert [path.name for path in (folder / "steps").iterdir()] == ["50"]
    assert call(arguments) == 2
    assert "holds a run already: write --resume to go on with it" in capsys.readouterr().err
    for other, words in (
        (["--model", "finer"], "model siren there, finer here"),
        (["--seed", "1"], "seed 0 there, 1 here"),
        (["--steps", "120"], "steps 110 there, 120 here"),
    ):
        assert call([*arguments, "--resume", *other]) == 2
        err = capsys.readouterr().err
        assert f"{folder} holds a checkpoint of another run: " in err
        assert words in err
    assert call([*arguments, "--resume"]) == 0
    assert "going on from step 50" in capsys.readouterr().err
    assert (folder / "weights.safetensors").read_bytes() == (fitted / "weights.safetensors").read_bytes()
    records = [json.loads((path / "record.json").read_text()) for path in (folder, fitted)]
    assert records[0]["losses"] == records[1]["losses"]
    assert records[0]["psnrs"] == records[1]["psnrs"]
    states = [_run.Run("fit", path, _about(path), option="--out")._manager.restore(110) for path in (folder, fitted)]
    same = jax.tree.map(
        lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(),
        *({name: part for name, part in state.items() if name != "seconds"} for state in states),
    )
    assert all(jax.tree.leaves(same))


def _about(folder):
    """Return what a run's folder says of it."""
    about = json.loads((folder / "run.json").read_text())
    return {name: value for name, value in about.items() if name != "command"}


@pytest.mark.slow
def test_a_run_goes_on_after_kill_9(picture, tmp_path):
    words = [sys.executable, "-m", "jaxgrad.cli", "fit", str(picture), *SMALL[:-1], "400"]

    def start(folder, *more):
        out = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
        return subprocess.Popen([*words, "-o", str(tmp_path / folder), *more], **out)

    killed = start("killed")
    while not (tmp_path / "killed" / "steps" / "50").exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "record.json").exists()
    assert start("killed", "--resume").wait() == 0
    assert start("whole").wait() == 0
    found, wanted = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("killed", "whole"))
    assert found == wanted


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(picture, tmp_path):
    words = [sys.executable, "-m", "jaxgrad.cli", "fit", str(picture), *SMALL[:-1], "100000", "-o", str(tmp_path / "r")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        while not (tmp_path / "r" / "steps" / "50").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("interrupted\n")
    assert all(path.name.isdecimal() for path in (tmp_path / "r" / "steps").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--match", "hessian"], "--match must be one of value, gradient, laplacian; got 'hessian'"),
        (["--model", "mlp"], "--model must be one of siren, fourier"),
        (["--optimizer", "sgd"], "--optimizer must be one of muon, adam"),
        (["--targets", "scharr"], "--targets must be one of spectral, spline, central, sobel"),
        (["--size", "0"], "--size must be a number of pixels from 2 to 8192"),
        (["--size", "1"], "--size must be a number of pixels from 2 to 8192"),
        (["--size", "-3"], "--size must be a number of pixels"),
        (["--size", "8x"], "--size must be a number of pixels"),
        (["--steps", "0"], "--steps must be at least 1; got 0"),
        (["--points", "-1"], "--points must be at least 1"),
        (["--learning-rate", "0"], "--learning-rate must be a positive number, such as 1e-3; got 0"),
        (["--learning-rate", "nan"], "--learning-rate must be a positive number"),
        (["--seed", "-1"], "--seed must lie between 0 and"),
        (["--background", "mauvish"], "--background must be a colour such as white"),
        (["--resume"], "--resume: {folder} holds no run; leave --resume out to start one"),
        (["--stepz", "3"], "No such option"),
    ],
)
def test_options_that_cannot_be_are_refused(picture, tmp_path, options, words, capsys):
    folder = tmp_path / "run"
    assert call(["fit", str(picture), "-o", str(folder), *options]) == 2
    assert_one_line(capsys, words.format(folder=folder))
    assert not folder.exists()


def assert_one_line(capsys, words):
    """An error is the one line on standard error, and nothing is on the other."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ")
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_files_that_are_no_pictures_are_refused(tmp_path, capsys):
    (tmp_path / "text.png").write_text("words")
    save(tmp_path / "row.png", np.zeros((1, 7), np.uint8))
    save(tmp_path / "one.png", np.full((8, 8), 90, np.uint8))
    for name, words in (
        ("no.png", "there is no file"),
        (".", "is a folder; name a picture file"),
        ("text.png", "is no picture that can be read"),
        ("row.png", "is 1 x 7 pixels (height x width); at least 2 x 2 are needed"),
        ("one.png", "has one colour throughout: its gradient is 0, and there is nothing to fit"),
    ):
        assert call(["fit", str(tmp_path / name), "-o", str(tmp_path / "run"), *SMALL]) == 2
        assert_one_line(capsys, words)
        assert not (tmp_path / "run").exists()


def test_folders_that_cannot_take_a_run_are_refused(picture, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "else.txt").write_text("")
    for name, words in (
        ("file", "--out {} is a file; name a folder"),
        ("full", "{} is not empty, and holds no run of this command; name a new folder"),
        ("file/below", "{}: Not a directory"),
    ):
        assert call(["fit", str(picture), "-o", str(tmp_path / name), *SMALL]) == 2
        assert_one_line(capsys, words.format(tmp_path / name))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["else.txt"]


def test_names_that_the_system_refuses_are_told(picture, fitted, tmp_path, capsys):
    long = str(tmp_path / ("x" * 300))
    for arguments in (
        ["fit", long, *SMALL],
        ["fit", str(picture), "-o", long, *SMALL],
        ["render", long],
        ["render", str(fitted), "-o", f"{long}.png"],
        ["blend", long, str(picture), *SMALL],
        ["blend", str(picture), str(picture), "-o", f"{long}.png", *SMALL],
        ["blend", str(picture), str(picture), "--mask", long, "-o", str(tmp_path / "a.png"), *SMALL],
    ):
        assert call(arguments) == 2
        assert_one_line(capsys, "File name too long")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused(picture, tmp_path, capsys):
    (tmp_path / "shut").mkdir(0o500)
    assert call(["fit", str(picture), "-o", str(tmp_path / "shut" / "run"), *SMALL]) == 2
    assert_one_line(capsys, "Permission denied")


def refuse(*_, **__):
    """Do what a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_the_system_refuses_is_told(picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_files, "make_folder", refuse)
    assert call(["fit", str(picture), "-o", str(tmp_path / "run"), *SMALL]) == 2
    assert_one_line(capsys, f"could not make the run's folder in {tmp_path / 'run'}: No space left on device")
    assert not (tmp_path / "run").exists()


@pytest.mark.either_lane
def test_a_disk_that_is_full_at_the_first_checkpoint_leaves_nothing(picture, tmp_path, monkeypatch, capsys):
    import orbax.checkpoint as ocp

    monkeypatch.setattr(ocp.CheckpointManager, "save", refuse)
    assert call(["fit", str(picture), "-o", str(tmp_path / "new" / "run"), *SMALL]) == 2
    assert_one_line(capsys, "could not keep the state after step 50 in")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.either_lane
def test_a_disk_that_is_full_at_the_end_leaves_the_run_to_go_on(picture, fitted, tmp_path, monkeypatch, capsys):
    import shutil

    shutil.copytree(fitted, tmp_path / "run")
    before = (tmp_path / "run" / "panel.png").read_bytes()
    monkeypatch.setattr(_files.os, "fsync", refuse)
    assert call(["fit", str(picture), "-o", str(tmp_path / "run"), *SMALL, "--resume"]) == 2
    assert_one_line(capsys, "No space left on device; the old file is unchanged")
    assert (tmp_path / "run" / "panel.png").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(path.name for path in fitted.iterdir())


@pytest.mark.either_lane
def test_a_loss_that_is_no_number_ends_the_run(picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(_training.LOSSES, "gradient", lambda *_: np.float32(np.nan))
    assert call(["fit", str(picture), "-o", str(tmp_path / "run"), *SMALL]) == 2
    assert_one_line(capsys, "the loss is no number any more after step 50: write a smaller --learning-rate than 0.003")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_memory_does_not_hold_leaves_nothing(picture, tmp_path, capsys):
    for option in ("--steps", "--points"):
        assert call(["fit", str(picture), "-o", str(tmp_path / "run"), *SMALL, option, str(10**13)]) == 2
        assert_one_line(capsys, "")
    assert list(tmp_path.iterdir()) == []


def test_runs_that_cannot_be_rendered_are_refused(fitted, tmp_path, capsys):
    import shutil

    def refused(run, words, *options):
        assert call(["render", str(run), *options]) == 2
        assert_one_line(capsys, words)

    refused(tmp_path / "no", "there is no folder")
    refused(tmp_path, "holds no run: there is no run.json in it")
    for size in ("0", "0x", "8x8x8", "many", "9000", "-1x", "infx"):
        refused(fitted, "--size must be a number of pixels", "--size", size)
    refused(fitted, "must end as a picture does", "-o", str(tmp_path / "a.txt"))
    refused(fitted, "does not exist; make it first", "-o", str(tmp_path / "no" / "a.png"))
    shutil.copytree(fitted, tmp_path / "run", ignore=shutil.ignore_patterns("steps"))
    weights = tmp_path / "run" / "weights.safetensors"
    arrays = load_file(weights)
    save_file(arrays, weights)
    refused(tmp_path / "run", "was not written by jaxgrad fit")
    about = {"jaxgrad": "{}"}
    save_file({n: a for n, a in arrays.items() if "layers_1" not in n}, weights, about)
    refused(tmp_path / "run", "the weights are those of another model: params/layers_1/bias is nothing, and siren has")
    save_file({**arrays, "params/layers_0/kernel": np.zeros((2, 9), np.float32)}, weights, about)
    refused(tmp_path / "run", "params/layers_0/kernel is (2, 9), and siren has (2, 16)")
    bias = np.zeros(16, np.int32)
    save_file({**arrays, "params/layers_0/bias": bias}, weights, about)
    refused(tmp_path / "run", "params/layers_0/bias is int32, and siren has float32")
    save_file({**arrays, "offset": bias[:3]}, weights, about)
    refused(tmp_path / "run", "it holds no offset of each channel in float32")
    weights.write_bytes(weights.read_bytes()[:100])
    refused(tmp_path / "run", "cannot be read")
    with safe_open(fitted / "weights.safetensors", framework="numpy") as file:
        about = file.metadata()
    save_file({**arrays, "offset": np.full(3, np.nan, np.float32)}, weights, about)
    refused(tmp_path / "run", "would hold 3072 numbers that are NaN or infinite: the field's weights are damaged")
    assert not list((tmp_path / "run").glob("render*"))
    plain = json.loads((fitted / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**plain, "model": "finer"}))
    shutil.copy(fitted / "weights.safetensors", weights)
    refused(tmp_path / "run", "was written by another run than the one of run.json: model siren there, finer here")
    write_network(tmp_path / "run", fitted, {"speed": 3.0})
    refused(tmp_path / "run", "the weights are those of siren in another version of jaxgrad: ")
    weights.unlink()
    refused(tmp_path / "run", "holds a run that is not finished: jaxgrad fit --resume writes its weights.safetensors")
    (tmp_path / "run" / "run.json").write_text("{")
    refused(tmp_path / "run", "cannot be read")
    assert not list(tmp_path.glob("**/*.png.*"))


def test_a_checkpoint_that_cannot_be_read_is_told(fitted, picture, tmp_path, capsys):
    import shutil

    shutil.copytree(fitted, tmp_path / "run")
    plain = (fitted / "run.json").read_text()
    # of another run, whose states have the same shapes
    (tmp_path / "run" / "run.json").write_text(plain.replace('"seed": 0', '"seed": 1'))
    arguments = ["fit", str(picture), "-o", str(tmp_path / "run"), *SMALL, "--resume"]
    assert call([*arguments, "--seed", "1"]) == 2
    assert_one_line(
        capsys, f"the checkpoint 110 in {tmp_path / 'run'} cannot be read as one of this run: seed 0 there, 1 here"
    )
    (tmp_path / "run" / "run.json").write_text(plain)
    (tmp_path / "run" / "steps" / "110" / "default" / "_METADATA").write_text("torn")
    assert call(arguments) == 2
    assert_one_line(capsys, f"; without {tmp_path / 'run' / 'steps' / '110'} the run goes on from 50")
    # and so it does
    shutil.rmtree(tmp_path / "run" / "steps" / "110")
    assert call(arguments) == 0
    assert "going on from step 50" in capsys.readouterr().err


@pytest.mark.either_lane
def test_blending_takes_the_second_inside_the_mask(picture, tmp_path, capsys):
    """The second is the first and a constant: its gradient is the same, and the blend is the first again."""
    brighter = save(tmp_path / "brighter.png", (gradient_picture() // 2 + 100).astype(np.uint8))
    half = save(tmp_path / "half.png", (gradient_picture() // 2).astype(np.uint8))
    out = tmp_path / "blend.png"
    arguments = ["blend", str(half), str(brighter), "--mask", "4,4,12,12", "-o", str(out)]
    assert call([*arguments, *SMALL[:-1], "200"]) == 0
    assert capsys.readouterr().out == f"16 x 16 pixels are in {out}\n"
    with Image.open(out) as image:
        found = np.asarray(image).astype(float)
    from jaxgrad.fit._picture import cut, read_picture

    wanted = cut(read_picture(half), (16, 16)).values * 255
    assert np.abs(found - wanted).mean() < 1.5
    # far from the second, which is brighter by 100
    assert (found - wanted)[4:12, 4:12].mean() < 1.5


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("no.png", "--mask must be a picture file or a box LEFT,TOP,RIGHT,BOTTOM in pixels; there is no file 'no.png'"),
        ("0,0,4", "--mask must be a picture file or a box"),
        ("0,0,17,4", "--mask must be a box LEFT,TOP,RIGHT,BOTTOM of whole numbers inside of 16 x 16 pixels"),
        ("4,4,4,8", "--mask must be a box"),
        ("a,b,c,d", "--mask must be a box"),
        ("0,0,16,16", "--mask 0,0,16,16 takes all of the second picture; mask a part of it"),
    ],
)
def test_masks_that_mask_nothing_are_refused(picture, tmp_path, mask, words, capsys):
    out = tmp_path / "a.png"
    assert call(["blend", str(picture), str(picture), "--mask", mask, "-o", str(out), *SMALL]) == 2
    assert_one_line(capsys, words)
    assert not out.exists()

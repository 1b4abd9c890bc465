"""The runner: rows, errors that become rows, planted errors, pictures, and what it leaves behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import verify
from jaxgrad.verify.cases._case import Case, Quantity
from jaxgrad.verify.cases._fault_injection import Plant, perturb
from jaxgrad.verify.cases._run import prepare, run_case
from tests.verify.fakes import CRITERIA, RIGHT, WRONG, ours, theirs


def rows(case, **options):
    return list(run_case(case, **options))


def test_right_quantities_agree():
    whole, total = rows(RIGHT)
    assert (whole.case, whole.title, whole.quantity, whole.verdict) == ("T1", "right", "all of it", "agree")
    assert whole.error_f64 == whole.noise_f32 == total.error_f64 == 0.0
    assert total.leaf == "value"
    assert min(whole.first_call_s, whole.second_call_s, whole.torch_s) > 0
    assert whole.reason == whole.traceback == ""


def test_a_wrong_answer_and_an_error_are_rows_and_the_run_goes_on():
    off, error, right = rows(WRONG)
    assert (off.verdict, off.leaf) == ("differ", "weight")
    assert off.error_f64 == pytest.approx(0.01)
    assert off.reason.startswith("weight: float64: 1.0e-02 off torch, allowed 1e-10")
    assert (error.verdict, error.error_f64, error.noise_f32) == ("differ", None, None)
    assert error.reason == "ZeroDivisionError: integer division or modulo by zero"
    assert "Traceback" in error.traceback
    assert right.agrees


def test_criteria_are_measured_once_and_drawn(tmp_path):
    holds, falls = rows(CRITERIA, figures=tmp_path)
    assert (holds.verdict, holds.measured, holds.error_f64) == ("agree", "31.4 dB | good", None)
    assert (falls.verdict, falls.reason) == ("differ", "the criterion does not hold: rose from 1.0 to 2.0")
    assert [file.name for file in tmp_path.iterdir()] == ["T3-PSNR-dB.png"]
    assert (tmp_path / "T3-PSNR-dB.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda dtype: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda dtype: [], "ValueError: the case must compare something"),
        (lambda dtype: [Quantity(str(dtype), dict, dict)], "ValueError: the case must compare something"),
        (lambda dtype: [Quantity("empty", dict, dict)], "ValueError: both trees are empty"),
        (lambda dtype: [Quantity("silent", lambda: jnp.ones(()).shout, dict)], "AttributeError: "),
    ],
)
def test_a_broken_case_is_a_row(build, reason):
    (row,) = rows(Case("T9", "broken", build))
    assert not row.agrees
    assert row.reason.startswith(reason)


def test_a_dtype_that_is_lost_differs():
    lost = Case("T4", "", lambda dtype: [Quantity("", lambda: ours(np.dtype("f4")), lambda: theirs(dtype))])
    (row,) = rows(lost)
    assert row.reason == "bias: float64: dtype float32 against float64"
    assert row.to_dict()["error_f64"] is None


@pytest.mark.parametrize(("leaf", "named"), [(None, "weight"), ("bias", "bias"), ("weight", "weight")])
def test_a_planted_error_is_found_and_named(leaf, named):
    first, second = rows(RIGHT, plant=Plant("T1", leaf))
    assert (first.verdict, first.leaf, second.verdict) == ("differ", named, "agree")
    assert first.reason.startswith(f"{named}: float64: ")


def test_a_planted_error_goes_to_the_quantity_that_has_the_leaf():
    first, second = rows(RIGHT, plant=Plant.parse("T1:value"))
    assert (first.verdict, second.verdict) == ("agree", "differ")
    assert second.error_f64 == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("case", "plant", "words"),
    [
        (RIGHT, "T1:scale", "no leaf 'scale'; it has bias, weight, value"),
        (CRITERIA, "T3", "in case T3 no quantity to perturb"),
    ],
)
def test_a_planted_error_without_a_place_is_refused(case, plant, words):
    with pytest.raises(verify.CannotRun, match=words):
        rows(case, plant=Plant.parse(plant))


def test_a_planted_error_moves_a_leaf_by_one_part_in_a_million():
    before = {"a": np.array([3.0, 4.0]), "b": np.array([1e-9])}
    after = perturb(before, "a")
    assert np.linalg.norm(after["a"] - before["a"]) == pytest.approx(5e-6)
    assert before["a"].tolist() == [3.0, 4.0]
    assert perturb(before, "b")["b"] - before["b"] == pytest.approx(5e-9)
    assert perturb({"a": np.zeros(2)}, "a")["a"].tolist() == [1e-6, 0.0]


def test_settings_of_the_caller_are_left_alone():
    with jax.enable_x64(False):
        for row in run_case(RIGHT):
            assert row.agrees
            assert jnp.ones(1).dtype == jnp.float32


def test_an_interrupt_is_not_a_row():
    def stop(dtype):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows(Case("T5", "", stop))


@pytest.mark.parametrize(
    ("package", "name"), [("sklearn.datasets", "scikit-learn"), ("skimage", "scikit-image"), ("torch.nn", "PyTorch")]
)
def test_a_missing_package_stops_the_run_with_one_line(package, name):
    def build(dtype):
        raise ModuleNotFoundError(name=package)

    with pytest.raises(verify.CannotRun, match=rf"{name} is not installed.*pip install 'jaxgrad\[") as error:
        rows(Case("T6", "", build))
    assert "\n" not in str(error.value)


def test_a_missing_module_of_our_own_is_a_mistake_in_the_case():
    def build(dtype):
        raise ModuleNotFoundError(name="nowhere")

    assert rows(Case("T7", "", build))[0].reason == "ModuleNotFoundError: no message"


def test_wrong_usage_is_refused_before_anything_runs():
    with pytest.raises(verify.CannotRun, match=r"no case is called 'H9'; did you mean .*H"):
        verify.run("H9")
    with pytest.raises(verify.CannotRun, match="not among those that run"):
        verify.run("H1", plant=Plant("H2"))
    with pytest.raises(verify.CannotRun, match="the device must be cpu, gpu or tpu; got 'ipu'"):
        verify.run("H1", device="ipu")
    with pytest.raises(verify.CannotRun, match="JAX finds no tpu here; it runs on cpu"):
        verify.run("H1", device="tpu")


def test_a_device_can_be_named():
    assert all(row.agrees for row in rows(RIGHT, device=prepare([RIGHT], "cpu", None, None)))

"""Contenders that disagree are never timed: the verifier's rule, in float64 and at the dtype of the run."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bench._agreement import DisagreementError, agree, answers, in_a_line
from bench._inputs import moved, to_jax, to_torch
from bench._row import Contender, Problem

pytestmark = pytest.mark.torch

EXACT = np.array([1.0, 2.0, 3.0])


def contender(name, value, read=lambda result: result):
    return Contender(name, "jax", lambda: value, read=read)


def judged(wide, narrow, dtype=np.float32, **options):
    """Judge ours, which is right, and a rival with an error in float64 and one in float32."""
    ours = contender("ours", jnp.asarray(EXACT, dtype))
    problem = Problem([ours, contender("rival", torch.tensor((EXACT + narrow).astype(dtype)))], **options)
    found, broken = answers(problem.contenders)
    assert not broken
    return agree(problem, found, lambda: {"ours": {"": EXACT}, "rival": {"": EXACT + wide}}, lambda *_: found, dtype)


def test_both_stages_are_told():
    found = judged(1e-14, 1e-7)
    assert found.rule == "verifier"
    assert 1e-15 < found.float64_error < 1e-13
    assert found.multiple <= 10


@pytest.mark.parametrize(
    ("wide", "narrow", "message"),
    [
        (1e-9, 0.0, "rival and ours differ in float64 at the value: .*e-10, allowed 1e-10"),
        (0.0, 1e-3, "rival loses .* times what the others lose in float32 at the value, allowed 100"),
        (np.nan, 0.0, "differ in float64 at the value: NaN or infinity"),
        (np.zeros((1, 3)), 0.0, "differ in float64 at the value: shape"),
    ],
)
def test_a_difference_of_either_stage_is_refused(wide, narrow, message):
    with pytest.raises(DisagreementError, match=message):
        judged(wide, narrow)


def test_a_rival_that_is_coarse_in_rounding_alone_is_told_and_ours_is_refused():
    coarse = judged(0.0, 1e-5).coarse
    assert list(coarse) == ["rival"]
    assert 10 < coarse["rival"] < 100
    assert judged(0.0, 1e-7).coarse == {}
    with pytest.raises(DisagreementError, match=r"ours loses .* in float32 at the value, allowed 10"):
        switching(0.0)


def switching(error, seeds=range(20)):
    """Judge ours, which rounding has moved by 1e-4, and a rival that the moves of a few seeds move by an error."""
    asked = []

    def again(seed, units):
        assert units == 1
        asked.append(seed)
        return {"rival": {"": (EXACT + error * (seed in seeds)).astype(np.float32)}}

    found = {"ours": {"": (EXACT + 1e-4).astype(np.float32)}, "rival": {"": EXACT.astype(np.float32)}}
    true = {"ours": {"": EXACT}, "rival": {"": EXACT}}
    agree(Problem([contender("ours", 1), contender("rival", 1)]), found, lambda: true, again, np.float32)
    return asked


def test_what_switches_a_unit_of_rounding_away_is_no_finding():
    assert switching(1e-4, {2}) == [0, 1, 2]
    with pytest.raises(DisagreementError, match="ours loses"):
        switching(1e-4, {50})


def test_a_rival_is_asked_for_more_than_a_unit():
    asked = []

    def again(seed, units):
        asked.append((seed, units))
        return {"ours": {"": (EXACT + 1e-3 * (units > 1)).astype(np.float32)}}

    found = {"ours": {"": EXACT.astype(np.float32)}, "rival": {"": (EXACT + 1e-3).astype(np.float32)}}
    true = {"ours": {"": EXACT}, "rival": {"": EXACT}}
    agree(Problem([contender("ours", 1), contender("rival", 1)]), found, lambda: true, again, np.float32)
    assert asked == [*((seed, 1) for seed in range(8)), (0, 16)]


def test_inputs_are_moved_by_a_unit_of_rounding_alike_in_both_frameworks():
    tree = {"x": np.linspace(1.0, 2.0, 9), "i": np.arange(3)}
    with moved(3):
        ours, theirs, other = to_jax(tree, np.float32), to_torch(tree, np.float32), to_jax(tree["x"], np.float32)
    assert np.array_equal(ours["x"], theirs["x"].numpy())
    assert np.array_equal(ours["x"], other)
    change = np.abs(np.asarray(ours["x"]) / np.asarray(to_jax(tree, np.float32)["x"]) - 1)
    assert 0 < change.max() <= 2.5e-7
    assert np.array_equal(ours["i"], tree["i"])
    assert np.array_equal(theirs["i"].numpy(), tree["i"])


def test_in_float64_there_is_one_stage():
    assert judged(0.0, 1e-14, np.float64).multiple is None
    with pytest.raises(DisagreementError, match="in float64"):
        judged(0.0, 1e-9, np.float64)


def test_an_iteration_has_a_tolerance_of_its_own():
    assert judged(1e-4, 0.5, agreement=1e-3).rule == "row"
    assert judged(0.0, 1e-4, np.float64, agreement=1e-3).rule == "row"
    with pytest.raises(DisagreementError, match=r"rival and ours differ at the value: .* allowed 1e-03"):
        judged(1e-2, 0.0, agreement=1e-3)


def test_results_are_read_first_and_who_breaks_is_told():
    def breaks():
        message = "no such network\nand more"
        raise TypeError(message)

    rival = contender("rival", {"x": torch.full((3,), 2.0)}, read=lambda result: result["x"])
    broken = dataclasses.replace(rival, name="broken", run=breaks)
    found, wrong = answers([rival, broken])
    assert found["rival"][""].tolist() == [2.0] * 3
    assert wrong == {"broken": "TypeError: no such network"}


def test_nothing_agrees_with_ours_where_ours_broke():
    with pytest.raises(DisagreementError, match="ours gave no answer"):
        agree(Problem([contender("ours", 1)]), {"rival": {}}, dict, lambda *_: {}, np.float32)


def test_memory_that_has_run_out_is_said_in_words():
    assert in_a_line(MemoryError()).startswith("ran out of memory (MemoryError")
    assert in_a_line(RuntimeError("CUDA out of memory. Tried")).startswith("ran out of memory")
    assert in_a_line(ValueError("")) == "ValueError: "

"""The judge must be able to fail: every kind of wrong answer is refused, and zeros agree."""

import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgrad.verify.judge import compare, judge, noise_multiple, size, to_numpy, worst
from jaxgrad.verify.judge._tolerances import NOISE_MULTIPLE_OF_A_NUMBER
from jaxgrad.verify.port.diagnosis._known_functions import ratio, recognise, same
from jaxgrad.verify.port.quantities._measure import measure
from jaxgrad.verify.port.quantities._verdicts import add_noise

TRUE = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([0.5])}


def pair(tree):
    """Return a tree in float64 and float32."""
    return tree, {name: leaf.astype(np.float32) for name, leaf in tree.items()}


def verdict(doubles, singles=None, truth=None):
    """Judge our trees against the true ones."""
    return judge((doubles, pair(TRUE)[1] if singles is None else singles), pair(TRUE), truth)


def test_equal_trees_agree():
    found = verdict(TRUE)
    assert found.wrong == ()
    assert found.definition.error == found.rounding.error == 0.0


@pytest.mark.parametrize(
    ("tree", "path", "words"),
    [
        (TRUE | {"b": np.array([0.5 + 1e-6])}, "b", "2.0e-06 off torch"),
        (TRUE | {"a": np.array([1.0, np.nan, 3.0])}, "a", "NaN or infinity"),
        (TRUE | {"a": np.array([1.0, np.inf, 3.0])}, "a", "NaN or infinity"),
        (TRUE | {"a": TRUE["a"][:, None]}, "a", r"shape \(3, 1\) against \(3,\)"),
        (TRUE | {"a": TRUE["a"].astype(np.float32)}, "a", "dtype float32 against float64"),
        ({"a": TRUE["a"]}, "b", "only the reference has this leaf"),
        (TRUE | {"c": np.zeros(1)}, "c", "only our tree has this leaf"),
        (TRUE | {"b": np.zeros(1)}, "b", "1.0e.00 off torch"),
    ],
)
def test_a_wrong_float64_answer_differs(tree, path, words):
    wrong = dict(verdict(tree).wrong)
    assert list(wrong) == [path]
    assert re.search(f"^float64: .*{words}|^float64: {words}", wrong[path])


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (np.array([1.0, 2.0, 3.0]), "dtype float64 against float32"),
        (np.array([1.0, 2.0, 3.0 + 1e-4], np.float32), "times torch's own error"),
        (np.array([1.0, 2.0, np.nan], np.float32), "NaN or infinity"),
    ],
)
def test_a_wrong_float32_answer_differs(leaf, words):
    ((path, reason),) = verdict(TRUE, pair(TRUE)[1] | {"a": leaf}).wrong
    assert path == "a"
    assert reason.startswith("float32: ")
    assert words in reason


def test_the_closed_form_is_asked_too():
    ((path, reason),) = verdict(TRUE, truth=TRUE | {"a": np.array([1.0, 2.0, 4.0])}).wrong
    assert path == "a"
    assert "off the closed form" in reason


def test_nothing_is_not_agreement():
    with pytest.raises(ValueError, match="nothing to compare"):
        judge(({}, {}), ({}, {}))


def test_two_nans_do_not_agree():
    assert worst(compare(np.array([np.nan]), np.array([np.nan]))).error == np.inf


def test_two_zeros_and_two_infinities_agree():
    assert worst(compare({"a": np.zeros(3)}, {"a": np.zeros(3)})).error == 0.0
    assert worst(compare(np.array([np.inf]), np.array([np.inf]))).error == 0.0
    assert noise_multiple(np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros(2)).error == 0.0


def test_something_is_not_zero():
    assert worst(compare(np.array([1e-300]), np.array([0.0]))).error == np.inf


@pytest.mark.parametrize("scale", [1e-250, 1.0, 1e250])
def test_squares_neither_overflow_nor_vanish(scale):
    assert size(np.array([3.0, 4.0]) * scale) == pytest.approx(5.0 * scale)
    assert worst(compare(np.array([1.0, 1.01]) * scale, np.array([1.0, 1.0]) * scale)).error > 1e-3


def test_a_small_leaf_is_measured_against_its_tree():
    large, small = np.array([1.0]), np.array([1e-9])
    found = {d.path: d.error for d in compare({"a": large, "b": small + 1e-16}, {"a": large, "b": small})}
    assert found["b"] == pytest.approx(1e-13, rel=1e-3)
    assert worst(compare({"a": large, "b": 2 * small}, {"a": large, "b": small})).error > 1e-10


def test_noise_is_a_multiple_of_the_reference():
    exact = np.array([1.0])
    ours, theirs = np.array([1.0 + 2**-20], np.float32), np.array([1.0 + 2**-21], np.float32)
    assert noise_multiple(ours, theirs, exact).error == pytest.approx(2.0)
    assert noise_multiple(ours, exact.astype(np.float32), exact).error == pytest.approx(8.0)


def test_a_single_number_may_be_further_off_than_a_leaf():
    exact, rounded = np.ones(3), np.ones(3, np.float32)
    off = np.float32(1 + 20 * 2.0**-23)

    def noise(numbers, leaf):
        return noise_multiple(
            {"number": np.float32(numbers), "leaf": leaf},
            {"number": rounded[0], "leaf": rounded},
            {"number": exact[0], "leaf": exact},
        )

    assert noise(off, rounded).path == "number"
    assert noise(off, rounded).error == pytest.approx(20)
    assert noise(off, rounded).allowed == NOISE_MULTIPLE_OF_A_NUMBER
    # the worst is what comes closest to its limit, not the largest multiple
    assert noise(off, rounded + np.float32(8 * 2.0**-23)).path == "leaf"
    assert judge((exact[0], off), (exact[0], rounded[0])).wrong == ()
    assert judge((exact[0], np.float32(1.1)), (exact[0], rounded[0])).wrong


def test_a_reference_that_overflows_does_not_excuse():
    exact, infinite = np.array([1.0]), np.array([np.inf], np.float32)
    assert noise_multiple(np.array([1.5], np.float32), infinite, exact).error > 1e6
    assert noise_multiple(infinite, infinite, exact).error == np.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.complex128])
def test_torch_keeps_its_dtype_on_the_way_to_numpy(dtype):
    (leaf,) = to_numpy(torch.ones(2, dtype=dtype)).values()
    assert leaf.dtype == jnp.dtype(str(dtype).removeprefix("torch."))
    assert leaf.tolist() == [1, 1]


def test_a_tensor_with_a_graph_or_a_conjugate_view_is_read():
    leaves = to_numpy({"a": torch.ones(2, requires_grad=True) * 2, "b": torch.tensor([1j]).conj()})
    assert leaves["a"].tolist() == [2, 2]
    assert leaves["b"].tolist() == [-1j]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_every_norm_is_scaled(scale):
    one, two = np.array([scale]), np.array([2 * scale])
    assert worst(compare(two, one)).error == pytest.approx(1.0)
    (leaf,) = measure({"w": two}, {"w": one}, str, tolerance=1e-10)
    assert leaf.error == pytest.approx(1.0)
    assert (leaf.ratio, leaf.cosine, leaf.mismatched) == (pytest.approx(2.0), pytest.approx(1.0), 1)
    assert not same(two, one)
    assert ratio(two, one) == pytest.approx(2.0)


def test_both_judges_know_one_rule_of_rounding():
    exact = {name: np.ones(4) for name in "abc"}
    theirs = {name: (np.ones(4) + off).astype(np.float32) for name, off in zip("abc", (1e-6, 2e-6, 1e-3), strict=True)}
    ours = {name: (np.ones(4) + 1e-4).astype(np.float32) for name in "abc"}
    leaves = measure(exact, exact, str, tolerance=1e-10)
    add_noise(leaves, exact, (theirs, ours), "float32", 0.0)
    found = {leaf.torch: leaf.noise for leaf in leaves}
    # the usual error is that of b, which the one leaf that cancels, c, does not raise
    assert found["a"] == pytest.approx(50, rel=0.1)
    assert found["c"] == pytest.approx(0.1, rel=0.1)
    assert noise_multiple(ours, theirs, exact).error == pytest.approx(max(found.values()))


def test_the_search_for_functions_is_silent_where_the_last_axis_has_one_entry():
    source = np.random.default_rng(0).normal(size=(4, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert recognise(source + 1, {"x": source}) is None
    wide = np.random.default_rng(0).normal(size=(4, 3))
    made = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, ddof=1, keepdims=True)
    assert recognise(made, {"x": wide}) == ("standardisation with ddof 1", "x")

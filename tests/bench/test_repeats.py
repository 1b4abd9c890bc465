"""What differs between visits to a row, and the intervals that have it."""

import itertools
import json
import math
import random

import numpy as np
import pytest

from bench import _repeats, _results, _run
from bench._fork import Aside
from bench._intervals import median_interval
from bench._rows import chosen, key_of
from tests.bench.recorded import record, row


def visits(deviation: float, error: float, count: int) -> list[tuple[tuple[float, float, float], ...]]:
    """Return pairs of intervals of one ratio, whose logarithms differ by the machine and by the error of the rounds."""
    chance = random.Random(0)

    def visit(middle):
        middle += chance.gauss(0, math.hypot(deviation, error))
        return tuple(math.exp(middle + 1.96 * error * side) for side in (0, -1, 1))

    return [(visit(middle), visit(middle)) for middle in (chance.uniform(-3, 3) for _ in range(count))]


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.2])
def test_the_deviation_between_visits_is_found_beside_that_of_the_rounds(deviation):
    found = _repeats.between_visits(visits(deviation, 0.02, 4000))
    assert found == pytest.approx(deviation, abs=0.005)


def test_a_row_that_spreads_widely_does_not_hide_what_the_others_say():
    """Sixteen rows, two of which have rounds that spread by half: the deviation is found, and never 0.

    Of 2000 such sets 95% gave 0.060 to 0.145. Without weights 95% gave 0 to 0.30, and half of them nearly nothing.
    """
    found = []
    for seed in range(200):
        chance = random.Random(seed)
        pairs = []
        for error in [0.02] * 14 + [0.5] * 2:
            ends = [chance.gauss(0, math.hypot(0.1, error)) for _ in range(2)]
            pairs.append(tuple(tuple(math.exp(m + 1.96 * error * s) for s in (0, -1, 1)) for m in ends))
        found.append(_repeats.between_visits(pairs))
    assert min(found) > 0.03
    assert np.median(found) == pytest.approx(0.1, abs=0.01)
    low, high = np.quantile(found, [0.025, 0.975])
    assert low > 0.05
    assert high < 0.16


def test_no_second_visit_says_nothing():
    assert _repeats.between_visits([]) is None
    assert _repeats.widened(record(row())) == record(row())


def test_widened_intervals_of_two_visits_overlap_as_often_as_95_percent_ones():
    deviation, error = 0.1, 0.01
    overlap = [0, 0]
    for pair in visits(deviation, error, 2000):
        a, b = pair
        overlap[0] += a[1] <= b[2] and b[1] <= a[2]
        a, b = (_repeats._wider(one, 9, deviation) for one in pair)
        overlap[1] += a[1] <= b[2] and b[1] <= a[2]
    # two intervals of 95% meet where the difference is below 2 x 1.96 of one, 2.77 of its own deviations: 99.4%
    assert overlap[0] < 0.3 * 2000
    assert overlap[1] / 2000 == pytest.approx(0.994, abs=0.006)


@pytest.mark.parametrize("rounds", [2, 3, 4, 5])
def test_few_rounds_have_an_interval_of_95_percent_too(rounds):
    """The range alone holds the median of four in 87.5%, and of three in 75%."""
    held = [0, 0]
    for samples in np.exp(0.1 * np.random.default_rng(0).normal(size=(4000, rounds))):
        range_ = median_interval(samples.tolist())
        for i, (_, low, high) in enumerate((range_, _repeats._wider(range_, rounds, 0.0))):
            held[i] += low <= 1 <= high
    assert held[0] / 4000 == pytest.approx(1 - 2 * 0.5**rounds, abs=0.02)
    assert held[1] / 4000 == pytest.approx(0.95, abs=0.012)


def test_few_rounds_decide_less_than_many():
    few, many = row(), row()
    for given, rounds in ((few, 4), (many, 9)):
        given["contenders"][1] |= {"ours_over_it": [0.9, 0.8, 0.98], "says": "faster", "rounds": rounds}
        given["best_rival"] |= {"ratio": [0.9, 0.8, 0.98]}
    found = [_repeats.widened_row(given, 0.0) for given in (few, many)]
    assert [one["best_rival"]["says"] for one in found] == ["nothing", "faster"]
    assert [one["contenders"][1]["says"] for one in found] == ["nothing", "faster"]
    assert found[1] == many
    # in gradients: of the rounds that the gradient ran, too
    few["contenders"][2]["rounds"] = 4
    ours = _repeats.widened_row(few, 0.0)["contenders"][0]["over_gradient"]
    assert ours[1] < few["contenders"][0]["over_gradient"][1]


def test_a_result_is_read_with_wider_intervals_and_resumed_with_its_own(tmp_path):
    path, given = tmp_path / "results.json", record(row())
    given["run"]["between_visits"] = {"deviation": 0.4, "ratios": 9, "rows": ["a"]}
    _results.save(path, given)
    (plain,), (read,) = (load("test", path)["rows"] for load in (_results.load_plain, _results.load))
    assert plain == row()
    middle, low, high = read["best_rival"]["ratio"]
    assert (middle, read["best_rival"]["says"]) == (0.5, "nothing")
    # 1.96 x 0.4 and the 10% of the rounds, in squares
    assert math.log(middle / low) == pytest.approx(math.hypot(1.96 * 0.4, math.log(0.5 / 0.45)), rel=1e-4)
    assert math.log(high / middle) == pytest.approx(math.hypot(1.96 * 0.4, math.log(0.55 / 0.5)), rel=1e-4)
    ours, rival, gradient = read["contenders"]
    assert ours["ours_over_it"] == [1, 1, 1]
    assert rival["ours_over_it"] == [middle, low, high]
    assert rival["says"] == "nothing"
    assert ours["over_gradient"][1] < 0.95 * ours["over_gradient"][0]
    assert gradient["over_gradient"][0] == 1
    json.dumps(read)


def test_rows_are_sampled_evenly_and_long_ones_are_left_out():
    rows = [row(label=str(i), seconds={"rounds": 20.0 if i % 2 else 1.0, "agreement": 99.0}) for i in range(200)]
    labels = [int(one["label"]) for one in _repeats.sample(rows)]
    assert len(labels) == 16
    assert not any(label % 2 for label in labels)
    assert min(labels) < 14
    assert max(labels) > 186
    assert len({b - a for a, b in itertools.pairwise(labels)}) <= 2
    assert not _repeats.sample(rows[:14])


@pytest.mark.slow
def test_a_row_is_measured_once_more_in_a_fresh_process(tmp_path):
    family, one = next(found for found in chosen("test", ["gradient"], None, True) if found[1].name == "jacobian")
    asked = {
        "family": family,
        "key": key_of(family, one, True),
        "names": ["jaxgrad", "torch.func"],
        "settings": _run.Settings(quick=True, device="cpu", dtype="float32"),
        "cache": str(tmp_path),
    }
    with Aside() as aside:
        ((name, (middle, low, high)),) = aside.call(_run.revisited, asked, 120).items()
        assert name == "torch.func"
        assert 0 < low <= middle <= high
        assert aside.call(_run.revisited, {**asked, "key": "no such row"}, 120) is None

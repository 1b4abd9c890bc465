"""Two results: what has grown, and whether noise could have done it."""

import math

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import _compare, _results
from bench.__main__ import app
from tests.bench.recorded import record, row

pytestmark = pytest.mark.torch


def slower(factor, spread=0.01, **costs):
    """Return the row with our time in gradients that many times as long."""
    given = row()
    ours, *others = given["contenders"]
    ours["over_gradient"] = [2 * factor, 2 * factor * (1 - spread), 2 * factor * (1 + spread)]
    for other in others:
        middle = factor * other["ours_over_it"][0]
        other["ours_over_it"] = [middle, middle * (1 - spread), middle * (1 + spread)]
    given["contenders"][0] |= costs
    return given


@pytest.fixture
def compare(tmp_path):
    def run(before, after, *more):
        for name, content in (("a.json", before), ("b.json", after)):
            _results.save(tmp_path / name, content)
        return CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), *more])

    return run


def test_equal_results_are_no_news(compare):
    done = compare(record(), record())
    assert done.exit_code == 0
    assert "4 quantities compared: 0 worse, 0 better" in done.stdout
    assert "2 of 2 ratios of times (100.0%) agree within their own intervals" in done.stdout


def test_a_slower_ratio_leaves_with_1_and_says_how_sure_it_is(compare):
    done = compare(record(slower(1.0)), record(slower(1.2)))
    assert done.exit_code == 1
    assert "Regressions" in done.stdout
    assert "time / jax.grad" in done.stdout.replace("\n", " ")
    assert "0 of 2 ratios of times (0.0%) agree within their own intervals" in done.stdout
    assert compare(record(slower(1.0)), record(slower(1.2)), "--threshold", "0.25").exit_code == 0


def test_a_faster_ratio_is_a_gain(compare):
    done = compare(record(slower(1.2)), record(slower(1.0)))
    assert done.exit_code == 0
    assert "Gains" in done.stdout


def test_what_noise_can_do_is_no_regression(compare):
    assert compare(record(slower(1.0, 0.3)), record(slower(1.2, 0.3))).exit_code == 0


@pytest.mark.parametrize("name", ["flops", "temporary_bytes", "collective_bytes"])
def test_a_cost_has_no_noise(compare, name):
    done = compare(record(slower(1.0, **{name: 100_000})), record(slower(1.0, **{name: 110_000})))
    assert done.exit_code == 1
    assert "exact" in done.stdout


def visited(given):
    """Return a result with rows that were measured once more."""
    given["run"]["between_visits"] = {"deviation": 0.01, "ratios": 3, "rows": ["a"]}
    return given


def test_one_visit_knows_less_than_its_rounds_say(compare):
    """8% in one visit of 0.5% each is what another visit may give; with second visits it is a regression."""
    runs = record(slower(1.0, 0.005)), record(slower(1.08, 0.005))
    done = compare(*runs)
    assert done.exit_code == 0
    assert done.stdout.count("json has measured no row once more") == 2
    done = compare(*map(visited, runs))
    assert done.exit_code == 1
    assert "once more" not in done.stdout


def test_temporaries_that_are_aligned_otherwise_are_no_change(compare):
    done = compare(record(slower(1.0, temporary_bytes=0)), record(slower(1.0, temporary_bytes=1024)))
    assert done.exit_code == 0
    assert compare(record(slower(1.0, temporary_bytes=0)), record(slower(1.0, temporary_bytes=1025))).exit_code == 1


def test_every_rival_s_ratio_is_asked_whether_it_agrees():
    a, b = record(slower(1.0)), record(slower(1.0))
    b["rows"][0]["contenders"][1]["ours_over_it"] = [0.6, 0.58, 0.62]
    assert _compare.alike(a, b) == (1, 2)
    b["rows"][0]["contenders"].pop()
    assert _compare.alike(a, b) == (0, 1)


def test_where_there_is_no_gradient_the_rival_is_the_unit():
    a, b = slower(1.0), slower(1.0)
    for given, ratio in ((a, [0.5, 0.49, 0.51]), (b, [0.7, 0.69, 0.71])):
        given["contenders"][0]["over_gradient"], given["unit"] = None, None
        given["contenders"][1]["ours_over_it"] = ratio
    (change, *_) = _compare.changes(record(a), record(b))
    assert change.what == "time / torch.func"
    assert change.factor == pytest.approx(1.4)
    assert change.is_regression(0.05)


def test_false_alarms_of_many_rows_stay_rare():
    """Two runs of the same code, 50 rows, a hundred times: at most a few have any regression at all."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        runs = []
        for _ in range(2):
            rounds = 2 * np.exp(0.05 * rng.normal(size=(50, 15)))
            rows = []
            for i, samples in enumerate(rounds):
                given = row(label=str(i))
                given["contenders"][0]["over_gradient"] = list(_compare_interval(samples))
                rows.append(given)
            runs.append(visited(record(*rows)))
        alarms += any(change.is_regression(0.0) for change in _compare.changes(*runs))
    assert alarms <= 12


def _compare_interval(samples):
    from bench._intervals import median_interval

    return median_interval(list(map(float, samples)))


def test_holm_steps_down():
    assert _compare.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert _compare.holm([]) == []


def test_nothing_becomes_something():
    assert _compare.Change("a", "temporary_bytes", 0, 8, None).factor == math.inf
    assert _compare.Change("a", "temporary_bytes", 0, 0, None).factor == 1.0


def test_rows_that_are_gone_are_named(compare):
    done = compare(record(row(), row(name="gone")), record(row()))
    assert "only in" in done.stdout
    assert "curvature.gone: MLP 4-2, batch 8" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"run": {**record()["run"], "dtype": "float64"}},
            "the first result is of dtype float32, the second of float64",
        ),
        ({"environment": {**record()["environment"], "device_kind": "H200"}}, "of device_kind cpu, the second of H200"),
        ({"rows": [row(label="other sizes")]}, "the two results have no row in common"),
    ],
)
def test_what_has_nothing_to_compare_is_refused(compare, change, message):
    done = compare(record(), record() | change)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_row_that_fails_now_is_a_regression_and_says_why(compare):
    failed = [{"key": "curvature.gone: MLP 4-2, batch 8", "why": "ran out of memory"}]
    done = compare(record(row(), row(name="gone")), record(row(), failed=failed))
    assert done.exit_code == 1
    assert "b.json: curvature.gone: MLP 4-2, batch 8: ran out of memory" in done.stdout.replace("\n", "")
    assert "only in" not in done.stdout
    # one that is left out, or failed before as well, is none
    assert compare(record(row(), row(name="gone")), record(row())).exit_code == 0
    assert compare(record(row(), failed=failed), record(row(), failed=failed)).exit_code == 0


def test_what_differs_around_the_runs_is_told(compare):
    other = record()
    other["environment"] |= {"threads": 1, "processor": "another", "flags": {"jax_default_matmul_precision": "default"}}
    other["environment"]["versions"] = {"jax": "0.12.0", "torch": "2.13.0", "folx": "0.2"}
    done = compare(record(), other)
    assert done.exit_code == 0
    for line in (
        "threads: 2 in the first result, 1 in the second",
        "processor: a processor in the first result, another in the second",
        "jax: 0.10.2 in the first result, 0.12.0 in the second",
        "folx: none in the first result, 0.2 in the second",
        "jax_default_matmul_precision: highest in the first result, default in the second",
    ):
        assert line in done.stdout.splitlines()
    assert "torch:" not in done.stdout
    assert "in the first result" not in compare(record(), record()).stdout


def test_a_row_whose_time_has_nothing_in_common_any_more_is_named(compare):
    alone = row(unit=None, best_rival=None)
    alone["contenders"] = [{**row()["contenders"][0], "over_gradient": None}]
    done = compare(record(row()), record(alone))
    assert "no ratio of times that both have: curvature.hvp: MLP 4-2, batch 8" in done.stdout.replace("\n", " ")
    assert "no ratio" not in compare(record(alone), record(alone)).stdout

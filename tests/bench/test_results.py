"""Results on disk: what is written is read again, and what is not a result is refused in one line."""

import json
import math

import pytest
import typer
from typer.testing import CliRunner

from bench import _compare, _report, _results, _tables
from bench.__main__ import app
from tests.bench.recorded import record, row

pytestmark = pytest.mark.torch


def test_a_result_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.json"
    _results.save(path, record())
    assert _results.load("bench", path) == record()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_json_has_no_number_for_is_null(tmp_path):
    given = row()
    given["contenders"][0]["flops"] = math.nan
    _results.save(tmp_path / "a.json", record(given))
    assert _results.load("bench", tmp_path / "a.json")["rows"][0]["contenders"][0]["flops"] is None


def test_a_record_of_another_form_is_not_written(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(ValueError, match=r"not of the schema: the file, rows\[0\] has no 'agreement'"):
        _results.save(tmp_path / "a.json", record({k: v for k, v in row().items() if k != "agreement"}))
    assert (tmp_path / "a.json").read_text() == "old"


def damaged(**changes):
    return json.dumps(record() | changes)


WHOLE = json.dumps(record())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE[: len(WHOLE) // 2], "a.json is no JSON, or was cut short"),
        ("", "a.json is no JSON, or was cut short"),
        ("[" * 100_000, "a.json is no JSON, or was cut short"),
        ("[1, 2]", 'a.json is no result of python -m bench: it has no "schema": "jaxgrad-bench"'),
        ('{"environment": {}, "rows": []}', "is no result of python -m bench"),
        (damaged(version=2), "is of version 2 of the schema; this bench reads version 1"),
        (damaged(rows=5), "is damaged: the file, rows is int, expected array"),
        (damaged(rows=[{}]), "is damaged: the file, rows[0] has no 'key'"),
        (damaged(ceilings={"flops_per_s": True, "bytes_per_s": 1}), "ceilings, flops_per_s is bool, expected number"),
        (damaged(run=record()["run"] | {"quick": "yes"}), "the file, run, quick is str, expected boolean"),
        (None, "cannot read"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report"])
def test_what_is_no_result_is_refused_in_a_line(tmp_path, text, message, command):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    arguments = [str(path), str(path)] if command == "compare" else [str(path)]
    done = CliRunner().invoke(app, [command, *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_of_json_is_refused(tmp_path, word):
    """Every comparison with it is false: it would hide what other rows have lost."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record()).replace('"median_s": 0.004', f'"median_s": {word}'))
    done = CliRunner().invoke(app, ["compare", str(path), str(path)])
    assert done.exit_code == 2
    assert f"{word} is no number" in done.stderr or "median_s is inf, expected a number" in done.stderr


def leaves(value, path=()):
    """Yield the path of every part of a tree of JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def changed(value, path, change):
    """Return a copy of a tree with one part changed, or without it."""
    if not path:
        return change(value)
    key, *rest = path
    if not rest and change is None:
        return (
            [item for i, item in enumerate(value) if i != key]
            if isinstance(value, list)
            else {k: v for k, v in value.items() if k != key}
        )
    new = list(value) if isinstance(value, list) else dict(value)
    new[key] = changed(value[key], rest, change)
    return new


CURVE = {
    "family": "nth",
    "name": "derivatives",
    "label": "MLP",
    "axis": "order",
    "dtype": "float32",
    "points": [
        {"size": n, "median_s": 0.001 * n, "compile_s": 0.1, "flops": 1e3, "temporary_bytes": 8} for n in (1, 2, 4)
    ],
    "exponents": {"median_s": [1.0, 0.9, 1.1], "compile_s": None},
    "broken": {"8": "ran out of memory"},
}
CHANGES = {
    "left out": None,
    "null": lambda _: None,
    "zero": lambda _: 0,
    "negative": lambda _: -1.5,
    "text": lambda _: "x",
    "list": lambda _: [],
    "object": lambda _: {},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_result_with_any_one_part_damaged_is_refused_in_a_line_or_read(tmp_path, change):
    whole = record(row(), curves=[CURVE], failed=[{"key": "a", "why": "b"}])
    whole["run"] |= {"between_visits": {"deviation": 0.1, "ratios": 3, "rows": ["a"]}, "missing": ["opacus"]}
    whole["run"]["parts"] = [{"started": "now", "seconds": 1.0, "commit": "abc"}]
    _results.save(tmp_path / "whole.json", whole)
    broken = []
    for path in leaves(whole):
        if not path and change is None:
            continue
        (tmp_path / "a.json").write_text(json.dumps(changed(whole, path, change)))
        try:
            found = _results.load("bench", tmp_path / "a.json")
        except typer.Exit:
            continue
        try:
            _report.page(found)
            _compare.changes(found, whole)
            _compare.changes(whole, found)
            for wanted in ([], ["curvature"]):
                _tables.of_families("bench", found, wanted)
            if any(one["family"] == "curvature" for one in found["rows"]):
                _tables.of_rows("bench", found, ["curvature"])
                _tables.of_rivals("bench", found, ["curvature"])
        except Exception as error:
            broken.append(f"{path}: {type(error).__name__}: {error}")
    assert broken == []

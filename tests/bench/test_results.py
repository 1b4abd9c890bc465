"""Results on disk: what is written is read again, and what is not a result is refused in one line."""

import json
import math

import pytest
from typer.testing import CliRunner

from bench import _results
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

"""The check of what goes between devices: the forms of ``python -m bench.scale`` against the committed result."""

import json
import re
from pathlib import Path

import jax
import pytest
import typer

from bench import _scale_check, _scale_forms

ROOT = Path(__file__).parents[2]
RECORD = json.loads(_scale_check.COMMITTED.read_text())
OWN = [one for one in RECORD["forms"] if one["processes"] == 1]


@pytest.fixture
def one_form(monkeypatch):
    monkeypatch.setattr(_scale_check, "FORMS", {"maml": _scale_forms.FORMS["maml"]})
    monkeypatch.setattr(_scale_check, "SIZES", (1, 2))


def here(path, change=lambda record: None):
    """Write a record of the versions that are here, of one form on few devices."""
    few = [one for one in OWN if one["form"] == "maml" and one["devices"] in (1, 2)]
    record = json.loads(json.dumps(RECORD | {"forms": few}))
    record["environment"]["versions"] |= {"jax": jax.__version__, "jaxlib": _scale_check.jaxlib.__version__}
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_what_is_as_committed_and_what_is_not(tmp_path, one_form, capsys):
    """In a process of its own, which has as many devices as are asked for."""

    def change(record):
        (sent,) = (one for one in record["forms"] if one["placement"] == "shard_map" and one["devices"] == 2)
        sent["collectives"] = {"all-gather": {"count": 2, "bytes": 7}}
        sent["argument_bytes"] = 5
        record["forms"] = [
            one for one in record["forms"] if (one["placement"], one["devices"]) != ("jit, Auto axes", 1)
        ]

    assert not _scale_check.is_as_committed("bench check", here(tmp_path / "scale.json", change))
    assert capsys.readouterr().out.splitlines()[:-1] == [
        "bench.scale maml, shard_map, devices 2: all-gather 2 of 7 bytes -> none",
        "bench.scale maml, shard_map, devices 2: all-reduce none -> 1 of 584 bytes",
        "bench.scale maml, shard_map, devices 2: bytes of arguments on a device 5 -> 1816",
        "bench.scale maml, jit, Auto axes, devices 1: has no committed collectives",
        "6 forms of bench.scale compiled for 1 and 2 devices, 4 differences",
    ]


def test_a_form_that_is_gone_and_one_that_breaks():
    own = [one for one in OWN if one["form"] in ("maml", "inr") and one["devices"] == 2]
    now = [one for one in own if one["form"] == "maml"][1:]
    now += [{"form": "inr", "placement": "shard_map", "devices": 2, "why": "TypeError: no such field"}]
    assert _scale_check.differences(own, own) == []
    assert _scale_check.differences(own, now) == [
        "bench.scale inr, shard_map, devices 2: TypeError: no such field",
        "bench.scale maml, shard_map, devices 2: is no form any more",
        "bench.scale inr, jit, Auto axes, devices 2: is no form any more",
        "bench.scale inr, jit, Explicit axes, devices 2: is no form any more",
    ]


def test_one_that_cannot_be_compiled_says_why():
    found = _scale_check.compiled("maml", "shard_map", 64)
    assert (found["form"], found["devices"]) == ("maml", 64)
    assert found["why"].startswith("ValueError: 64 devices cannot be taken evenly")


def test_a_process_that_fails_is_told(tmp_path, one_form, monkeypatch, capsys):
    monkeypatch.setattr(
        _scale_check, "WORKER", (_scale_check.sys.executable, "-S", "-c", "raise SystemExit('no room')")
    )
    with pytest.raises(typer.Exit) as left:
        _scale_check.is_as_committed("bench check", here(tmp_path / "scale.json"))
    assert left.value.exit_code == 1
    words = "bench check: the forms of bench.scale could not be compiled: process 0 ended with status 1: no room\n"
    assert capsys.readouterr().err == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ('{"schema"', "is no JSON, or was cut short"),
        ('{"schema": "jaxgrad-bench", "version": 1}', "is no result of python -m bench.scale, of version 1"),
        (json.dumps(RECORD | {"forms": []}), "has no form on 2 and 8 CPU devices of one process"),
        (json.dumps(RECORD | {"forms": [OWN[0] | {"collectives": 3}]}), "is damaged: the file, forms[0], collectives"),
    ],
)
def test_a_file_that_is_no_result_is_told_in_a_line(tmp_path, text, message, capsys):
    path = tmp_path / "scale.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(typer.Exit) as left:
        _scale_check.is_as_committed("bench check", path)
    assert left.value.exit_code == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_another_version_of_jax_has_nothing_to_compare_with(tmp_path, capsys):
    path = here(tmp_path / "scale.json", lambda record: record["environment"]["versions"].update(jax="0.0.1"))
    assert _scale_check.is_as_committed("bench check", path)
    assert "scale.json was made with jax 0.0.1" in capsys.readouterr().out


def test_the_committed_result_is_of_the_pinned_versions_and_has_every_form():
    """Under other versions the check compares nothing, and says so: it would pass for ever."""
    pinned = dict(re.findall(r"^(jax|jaxlib)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {name: RECORD["environment"]["versions"][name] for name in pinned} == pinned
    assert len(pinned) == 2
    for form in _scale_forms.FORMS.values():
        places = [(one["placement"], one["devices"]) for one in OWN if one["form"] == form.name]
        assert sorted(places) == sorted((placement, size) for placement in form.placements for size in (1, 2, 4, 8))

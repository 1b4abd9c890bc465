"""How a report reaches the terminal: colours, width, an ASCII locale; and what every command says of itself."""

import io
import sys

import pytest

from jaxgrad.cli._app import app, call
from jaxgrad.cli._output import write
from jaxgrad.verify import LOSS_NAMES, QUANTITIES
from jaxgrad.verify.port.frameworks._losses import LOSSES
from tests.verify.report.samples import agreeing, differing, reports

COMMANDS = [command.name for command in app.registered_commands]
REPORTING = [name for name in COMMANDS if name not in ("dump", "fit", "render", "blend")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert call([command, "-h"]) == 0
    short = capsys.readouterr().out
    assert call([command, "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "-o, --output" in short
    assert ("--format text|json|junit|html" in short) == (command in REPORTING)


def test_the_help_of_a_check_names_quantities_losses_and_tolerance(capsys):
    assert call(["check", "-h"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert ", ".join(QUANTITIES) in words
    assert ", ".join(LOSS_NAMES) in words
    assert "--tolerance NUMBER" in words
    assert set(LOSSES) == set(LOSS_NAMES)


@pytest.mark.parametrize("tolerance", ["0", "-1", "1", "nan", "much"])
@pytest.mark.parametrize("command", [["check", "spec.py"], ["diff", "run_a", "run_b"]])
def test_a_tolerance_that_judges_nothing_is_refused(command, tolerance, capsys):
    assert call([*command, "--tolerance", tolerance]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--tolerance" in err


def shown(capsys, monkeypatch, report, **environment):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    write(report, "text", None)
    return capsys.readouterr().out


def test_colours_are_there_where_they_are_wanted(capsys, monkeypatch):
    assert "\x1b[1;31mthe models differ\x1b[0m" in shown(capsys, monkeypatch, differing(), FORCE_COLOR="1")
    assert "\x1b[1;32mthe models agree\x1b[0m" in shown(capsys, monkeypatch, agreeing(), FORCE_COLOR="1")
    assert "\x1b" not in shown(capsys, monkeypatch, differing())
    assert "\x1b[1;31m" not in shown(capsys, monkeypatch, differing(), FORCE_COLOR="1", NO_COLOR="1")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_are_as_long_as_the_terminal_is_wide(capsys, monkeypatch, width):
    lines = shown(capsys, monkeypatch, differing(), COLUMNS=str(width)).splitlines()
    assert width - 20 < max(map(len, lines)) <= width


@pytest.mark.parametrize("name", reports())
@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
def test_a_locale_without_the_letters_stops_no_report(monkeypatch, name, form):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert call(["verify", "--list", "--case", "F1"]) == 0
    write(reports()[name], form, None)
    assert raw.getvalue().isascii()
    assert len(raw.getvalue()) > 150


@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
def test_a_file_holds_what_standard_output_would(tmp_path, capsys, form):
    path = tmp_path / "report"
    write(differing(), form, path)
    assert path.read_text("utf-8") == differing().written(form)
    assert capsys.readouterr().out == ""

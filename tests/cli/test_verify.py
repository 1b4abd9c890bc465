"""``jaxgrad verify`` in this process, on small cases: formats, files, exit codes, one-line refusals."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from jaxgrad import verify
from jaxgrad.cli._app import call
from jaxgrad.cli._progress import follow
from jaxgrad.verify.cases import _readme
from jaxgrad.verify.cases._case import Case, Quantity
from jaxgrad.verify.cases._run import run_case
from tests.verify.fakes import CRITERIA, RIGHT, WRONG, ours, theirs


@pytest.fixture
def cases(monkeypatch):
    """Let the command find the small cases in place of the built-in ones."""
    found = [RIGHT]
    monkeypatch.setattr(verify, "select", lambda patterns: found)
    return found


def refusal(capsys, *arguments):
    """Run a command that must be refused, and return its one line."""
    assert call(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_agreement_exits_0_and_shows_the_table(cases, capsys):
    assert call(["verify"]) == 0
    out, err = capsys.readouterr()
    assert "T1    all of it" in out
    assert re.search(r"1 case, 2 rows: all agree, in \d+ s\.", out)
    assert err.splitlines() == ["T1 all of it: agree", "T1 the sum: agree"]


def test_a_difference_exits_1_with_its_reason(cases, capsys):
    cases[:] = [WRONG, CRITERIA]
    assert call(["verify"]) == 1
    out, _ = capsys.readouterr()
    assert "T2, 1% off: weight: float64: 1.0e-02 off torch, allowed 1e-10" in " ".join(out.split())
    assert "[bold]raises: ZeroDivisionError" in out
    assert "31.4 dB | good" in out
    assert "2 cases, 5 rows: 2 agree, 3 differ" in out
    assert "Traceback" not in out


def test_verbose_shows_the_traceback(cases, capsys):
    cases[:] = [WRONG]
    assert call(["verify", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits(cases, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    long = "decoder/block_11/attention/query/kernel/of/a/very/deep/network"
    cases[:] = [
        WRONG,
        Case(
            "N3",
            "",
            lambda dtype: [Quantity(9 * "long ", lambda: {long: ours(dtype)}, lambda: {long: theirs(dtype)})],
        ),
    ]
    call(["verify"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for word in ("T2", "N3", "agree", "differ", "1.0e-02", "verdict", "torch"):
        assert any(word in line for line in lines)


def test_json_is_a_list_of_rows_and_nothing_else(cases, capsys):
    cases[:] = [WRONG, CRITERIA, Case("T4", "", lambda dtype: print("noise") or RIGHT.build(dtype))]  # noqa: T201
    assert call(["verify", "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert len(rows) == 7
    for row in rows:
        assert {"case", "quantity", "error_f64", "noise_f32", "verdict"} <= set(row)
        assert row["verdict"] in {"agree", "differ"}
        assert row["error_f64"] is not None or row["reason"] or row["measured"]


def test_an_infinity_is_null_with_a_reason(cases, capsys):
    cases[:] = [Case("T5", "", lambda dtype: [Quantity("shape", lambda: ours(dtype)["bias"], lambda: theirs(dtype))])]
    assert call(["verify", "--format", "json"]) == 1
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (row["error_f64"], row["noise_f32"]) == (None, None)
    assert "has this leaf" in row["reason"]


def test_junit_is_xml_with_a_failure_for_every_difference(cases, capsys):
    def coloured(dtype):
        message = "\x1b[31m<red> & \x00black"
        raise ValueError(message)

    cases[:] = [RIGHT, WRONG, Case("T6", "", coloured)]
    assert call(["verify", "--format", "junit"]) == 1
    suites = ET.fromstring(capsys.readouterr().out)
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures")) == ("6", "3")
    tests = {test.get("name"): test for test in suite}
    assert tests["all of it"].find("failure") is None
    assert tests["1% off"].get("classname") == "jaxgrad.verify.T2"
    assert "1.0e-02 off torch" in tests["1% off"].find("failure").get("message")
    assert tests["the case itself"].find("failure").get("message") == "ValueError: \ufffd[31m<red> & \ufffdblack"
    assert "Traceback" in tests["the case itself"].find("failure").text


@pytest.mark.parametrize("kind", ["text", "json", "junit", "html"])
def test_a_report_can_go_to_a_file(cases, capsys, tmp_path, kind):
    file = tmp_path / "report"
    file.write_text("old")
    assert call(["verify", "--format", kind, "--output", str(file)]) == 0
    assert "all of it" in file.read_text()
    assert capsys.readouterr().out == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_a_disk_that_fails_keeps_the_old_report(cases, capsys, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    file = tmp_path / "report"
    file.write_text("old")
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert call(["verify", "--output", str(file)]) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert file.read_text() == "old"


def test_a_planted_error_exits_1_and_names_case_quantity_and_leaf(cases, capsys):
    assert call(["verify", "--plant", "t1:bias", "--format", "json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["case"], first["quantity"], first["leaf"], first["verdict"]) == ("T1", "all of it", "bias", "differ")
    assert second["verdict"] == "agree"


def test_pictures_are_saved(cases, tmp_path, capsys):
    cases[:] = [CRITERIA]
    call(["verify", "--figures", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder" / "T3-PSNR-dB.png").is_file()


def test_the_readme_is_rewritten(cases, tmp_path, capsys):
    document = tmp_path / "README.md"
    document.write_text(f"# Title\n{_readme.BEGIN}\nold\n{_readme.END}\nrest\n")
    assert call(["verify", "--readme", str(document)]) == 0
    text = document.read_text()
    assert "| T1 | right | 0 | 0.0x torch's | agree |" in text
    assert "old" not in text
    assert text.startswith("# Title\n")
    assert text.endswith("\nrest\n")


def test_cases_are_listed(capsys):
    assert call(["verify", "--list", "--case", "h*"]) == 0
    first, second, *others = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in others] == [f"H{i}  " for i in range(3, 9)]
    assert first == "H1  Hessian-vector product of the 2-5-1 network"
    assert second.startswith("H2  ")


def test_the_list_is_that_of_the_modules():
    assert verify.case_titles() == {case.id: case.title for case in verify.select()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--case", "H9"], "no case is called 'H9'; did you mean"),
        (["--case", "H1,nonsense"], "no case is called 'nonsense'"),
        (["--case", "H1", "--format", "xml"], "--format must be one of text, json, junit, html; got 'xml'"),
        pytest.param(
            ["--case", "H1", "--device", "ipu"],
            "the device must be cpu, gpu or tpu; got 'ipu'",
            marks=pytest.mark.torch,
        ),
        pytest.param(
            ["--case", "H1", "--device", "tpu"], "JAX finds no tpu here; it runs on cpu", marks=pytest.mark.torch
        ),
        pytest.param(["--case", "H1", "--plant", "H2"], "not among those that run", marks=pytest.mark.torch),
        (["--case", "H1", "--plant", ":bias"], "--plant takes CASE or CASE:LEAF"),
        (["--case", "H1", "--output", "/nowhere/at/all"], "does not exist; make it first"),
        (["--case", "H1", "--output", "/"], "is a folder; name a file"),
        pytest.param(["--case", "H1", "--figures", "/dev/null/x"], "cannot be made", marks=pytest.mark.torch),
        (["--case", "H1", "--readme", "README.md"], "leave out --case and --plant"),
        (["--readme", "nowhere.md"], "there is no file nowhere.md"),
        (["--figure", "x"], "No such option"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_2(capsys, arguments, words):
    assert words in refusal(capsys, "verify", *arguments)


def test_an_unknown_command_is_one_line_and_exits_2(capsys):
    assert "No such command 'compare'" in refusal(capsys, "compare")
    assert "Missing command" in refusal(capsys)


def test_a_missing_package_is_one_line_and_exits_2(cases, capsys):
    def build(dtype):
        raise ModuleNotFoundError(name="skimage")

    cases[:] = [Case("T7", "", build)]
    assert "scikit-image is not installed" in refusal(capsys, "verify")


def test_an_interrupt_exits_130(cases, capsys):
    def stop(dtype):
        raise KeyboardInterrupt

    cases[:] = [Case("T8", "", stop)]
    assert call(["verify"]) == 130


def test_a_terminal_sees_a_bar_and_what_differs(capsys):
    console = Console(stderr=True, force_terminal=True, width=100)
    rows = follow([RIGHT, WRONG], run_case, console)
    err = capsys.readouterr().err
    assert len(rows) == 5
    assert "2/2" in err
    assert "[bold]raises: differ" in err
    assert "all of it" not in err

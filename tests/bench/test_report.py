"""The report: one page, nothing beside it, no scripts; what it draws is what was measured."""

import html.parser
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import _report, _results, _style, _svg
from bench.__main__ import app
from tests.bench.recorded import COMPILED, line, record, row

pytestmark = pytest.mark.torch

CURVE = {
    "family": "nth",
    "name": "derivatives",
    "label": "MLP",
    "axis": "order",
    "dtype": "float32",
    "points": [{"size": n, "median_s": 0.001 * n, "compile_s": 0.1, "flops": 1e3} for n in (1, 2, 4)],
    "exponents": {"median_s": [1.0, 0.9, 1.1], "compile_s": None, "flops": [0.0, 0.0, 0.0]},
    "broken": {},
}
EVIL = "<script>alert('x')</script> & co"


def slow_row():
    best = {"name": "torch.func", "ratio": [2.0, 1.8, 2.2], "says": "slower"}
    doubt = {"name": "torch.func", "ratio": [1.0, 0.8, 1.2], "says": "nothing"}
    return [row(label="b", best_rival=best), row(label="c", best_rival=doubt), row(label="d", best_rival=None)]


PAGE = _report.page(record(row(), *slow_row(), row(label=EVIL), curves=[CURVE], failed=[{"key": EVIL, "why": EVIL}]))


class Nested(html.parser.HTMLParser):
    """Checks that every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it():
    tags = Nested(PAGE).seen
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object"}
    assert not [a for _, a in tags for name in a if name.startswith("on") or name in ("src", "href")]
    assert "url(" not in PAGE
    assert "@import" not in PAGE
    assert "prefers-color-scheme: dark" in PAGE
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags


def test_names_are_text_and_never_markup():
    assert EVIL not in PAGE
    assert "&lt;script&gt;" in PAGE


def test_who_wins_is_counted():
    counts = re.findall(r"<div><b>(\d+)</b>", PAGE)
    assert counts == ["5", "2", "1", "1"]
    assert [PAGE.count(f'class="bar {kind}"') for kind in ("faster", "slower", "nothing")] == [2, 1, 1]
    assert "2x" in PAGE
    assert "1x?" in PAGE


def test_every_part_is_there():
    for part in ("Who wins", "Scaling", "Roofline", "Memory against time", "Compiling", "Numbers", "What did not run"):
        assert f"<h2>{part}" in PAGE
    assert "time ~ size^1.00 (0.90 to 1.10)" in PAGE
    assert "opacus did not run: not installed (5 rows)" in PAGE
    # the position under the roofline: what a pointer shows in the picture is not there on a phone
    assert "<th>of ceiling</th>" in PAGE
    assert "<td>25%</td>" in PAGE


def test_what_is_to_be_said_of_times():
    """A reader of the page must know what the screen has told: rows that were disturbed, sizes that broke."""
    noted = [line("jaxgrad", 1.0, (1.0, 1.0, 1.0), note="one graph")]
    disturbed = row(label="a", beside=0.4), row(label="b", contenders=noted)
    curve = {**CURVE, "broken": {"8": "ran out of memory"}}
    text = _report.page(record(*disturbed, curves=[curve]))
    said = "other programs took 40% of the processor meanwhile: do not trust these times"
    assert f"<li>curvature.hvp: a: {said}</li>" in text
    assert "<li>curvature.hvp: b: jaxgrad: one graph</li>" in text
    assert "<li>nth.derivatives over order, 8: ran out of memory</li>" in text
    assert "(2 rows)</summary>curvature.hvp: a; curvature.hvp: b</details>" in text


def test_memory_says_what_was_measured():
    given = record()
    assert "how far a call raises a fresh process" in _report.page(given)
    given["environment"]["device"] = "gpu"
    assert "how far a call raises that of the device" in _report.page(given)


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_read_on_light_and_on_dark():
    """WCAG 2.2: 4.5 for text, 3 for what is drawn. Coloured words stand on the page, and pictures on panes."""
    found = re.findall(r"--(\w+): (#\w+)", _style.STYLE)
    light, dark = dict(found[: len(found) // 2]), dict(found[len(found) // 2 :])
    assert set(light) == set(dark)
    for colours in (light, dark):
        for name in ("ink", "soft", "faster", "slower", "torch", "nothing"):
            for ground in ("back", "pane"):
                low, high = sorted((luminance(colours[name]), luminance(colours[ground])))
                is_text = name in ("ink", "soft") or (ground == "back" and name != "nothing")
                assert (high + 0.05) / (low + 0.05) >= (4.5 if is_text else 3.0), (name, ground, colours)


def test_a_result_of_nothing_is_a_page_too():
    Nested(_report.page(record() | {"rows": [], "ceilings": None}))


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, 5])
def test_any_number_can_be_drawn(value):
    ours = line("jaxgrad", value, (1.0, 1.0, 1.0), **{**COMPILED, "flops": value, "temporary_bytes": 0})
    given = row(contenders=[ours], best_rival={"name": "x", "ratio": [value or 1e-9] * 3, "says": "slower"})
    text = _report.page(record(given, curves=[{**CURVE, "points": [{"size": 1, "median_s": value}]}]))
    Nested(text)
    assert "nan" not in text
    assert "inf" not in text.replace("info", "")


def test_bars_grow_with_the_logarithm_and_start_at_1():
    def width(ratio):
        bars = [_svg.Bar("a", (ratio, ratio, ratio), "faster", ""), _svg.Bar("b", (100.0, 100.0, 100.0), "faster", "")]
        return [float(w) for w in re.findall(r'<rect x="[\d.]+" y="\d+" width="([\d.]+)"', _svg.bars("t", bars, "x"))]

    half, whole = width(10.0)
    assert half == pytest.approx(whole / 2, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (0.001, 1000.0), (1e-9, 1e12), (0.9, 1.1), (3.0, 3.5)])
def test_ticks_are_round_few_and_in_range(low, high):
    ticks = _svg.log_ticks(low, high)
    assert len(ticks) <= 7
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
    assert all(round(tick / 10 ** math.floor(math.log10(tick) + 1e-9), 9) in (1, 2, 3, 5) for tick in ticks)


def test_the_command_writes_the_page_beside_the_result(tmp_path):
    _results.save(tmp_path / "results.json", record())
    done = CliRunner().invoke(app, ["report", str(tmp_path / "results.json")])
    assert done.exit_code == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert CliRunner().invoke(app, ["report", str(tmp_path / "results.json"), "-o", "/no/such/x.html"]).exit_code == 2


def picture(tmp_path, text, width, *, dark):
    """Return a page as Chromium draws it without JavaScript; to ask it for widths would need a script."""
    (tmp_path / "page.html").write_text(text)
    profile = tmp_path / "profile" / "Default"
    profile.mkdir(parents=True)
    # as a user turns it off; blink's own setting stops the code that takes the picture too
    off = {"profile": {"default_content_setting_values": {"javascript": 2}}}
    (profile / "Preferences").write_text(json.dumps(off))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile.parent}"]
    command += [f"--window-size={width},3000", "--hide-scrollbars", f"--blink-settings=preferredColorScheme={1 - dark}"]
    subprocess.run(
        [*command, f"--screenshot={tmp_path / 'page.png'}", f"file://{tmp_path / 'page.html'}"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    from matplotlib.image import imread

    drawn = imread(tmp_path / "page.png")[:, :, :3]
    assert drawn.shape[1] == width
    return drawn


DRAWN = pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium draws it")


@pytest.mark.slow
@DRAWN
def test_pictures_are_taken_with_scripts_off(tmp_path):
    text = "<!doctype html><body style='background: #0f0'><script>document.body.style.background = '#f00'</script>"
    assert np.allclose(picture(tmp_path, text, 600, dark=False), [0, 1, 0])


@pytest.mark.slow
@DRAWN
@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize(
    ("dark", "ground", "ink"), [(False, "#ffffff", "#1b1f24"), (True, "#0d1117", "#e6edf3")], ids=["light", "dark"]
)
def test_no_part_is_wider_than_the_screen_in_light_and_dark(tmp_path, width, dark, ground, ink):
    """Nor without JavaScript: a strip right of the page has the ground's colour, and text its own."""
    drawn = picture(tmp_path, PAGE, width, dark=dark)
    back, letters = ([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in (ground, ink))
    assert np.allclose(drawn[:, -14:], back, atol=0.002)
    assert (np.abs(drawn - letters).max(-1) < 0.01).sum() > 1000


def test_the_page_says_how_rows_were_compared_and_how_sure_their_ratios_are():
    loose = row(label="b", agreement={"rule": "row", "relative": 0.01}, settled=False)
    given = record(row(), loose)
    given["run"]["between_visits"] = {"deviation": 0.031, "ratios": 3, "rows": ["a", "b"]}
    page = _report.page(given)
    assert "by the verifier's rule in 1 of 2 rows" in page
    assert "The rounds of 1 rows ended by time" in page
    assert "2 rows were measured once more: between visits a ratio varies by 3.1%" in page

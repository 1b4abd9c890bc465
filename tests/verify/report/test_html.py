"""The page of a report is one file, whole without JavaScript; a headless Chromium shows it narrow, wide and dark."""

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tests.verify.report.samples import reports

REPORTS = reports()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")  # fmt: skip


class Reader(HTMLParser):
    """Collects what a reader without JavaScript sees, and fails where the elements are not nested."""

    VOID = ("meta", "input", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.rows = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)
            if "td" in self.open:
                self.rows[-1].append(data)


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_is_one_file_that_nothing_in_it_can_break(name):
    page = REPORTS[name].to_html()
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//|file)""", page)
    assert page.count("</script>") == 1
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    Reader(page)


def test_it_says_without_javascript_what_to_do_first_then_what_failed():
    reader = Reader(REPORTS["differing"].to_html())
    text = "\n".join(reader.words)
    order = [
        *("the models differ", "What to change", "Set epsilon=1e-05.", "Where they part", "first divergence, forward"),
        *("What was compared", "Encoder", "spec.py", "torch 2.6, jax 0.10.2 on cpu", "2026-01-02 03:04"),
        *("Quantities", "Leaves that differ", "Leaves that agree", "Layers", "Legend"),
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    (failing,) = [row for row in reader.rows if row[:2] == ["gradient", "norm.weight"]]
    # the error stands beside the name; then got and want
    assert failing[2:5] == ["2.0e-03", "1.25", "0.75"]


def test_the_page_of_an_audit_has_the_settings_and_the_mapping():
    rows = Reader(REPORTS["audit"].to_html()).rows
    assert ["norm", "epsilon", "1e-05", "1e-06", "about 4.5e-06", "differ", "norm"] in rows
    assert ["fc/kernel", "fc.weight", "transpose", "square"] in rows


PROBE = """<script>const d = document.documentElement, t = parent.document.documentElement.dataset;
    t.width = innerWidth;
    t.overflow = d.scrollWidth - d.clientWidth;
    const seen = [...document.querySelectorAll('td[data-name="error f64"]')].map(c => c.getBoundingClientRect());
    t.right = Math.max(...seen.filter(box => box.width).map(box => box.right));
    t.light = getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0];
    t.bright = Math.max(...[...document.querySelectorAll('main *')].flatMap(
      e => (getComputedStyle(e).backgroundColor.match(/[0-9.]+/g).length > 3 ? [0]
            : getComputedStyle(e).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number))));
    document.querySelectorAll('th button').forEach(b => b.click());
    t.title = document.title;</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.parametrize("name", ["differing", "audit", "cases"])
@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (1280, False)])
def test_page_renders(name, tmp_path, width, dark):
    path = tmp_path / "report.html"
    # the page tells its own measures, since a headless dump shows only the document; in a frame, since a window is
    # never narrower than 500 pixels
    inside = html.escape(REPORTS[name].to_html().replace("</body>", f"{PROBE}</body>"))
    path.write_text(f'<iframe srcdoc="{inside}" width="{width}" height="800" style="border: 0"></iframe>')
    extra = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [CHROMIUM, *FLAGS, *extra, "--window-size=1400,900", f"--user-data-dir={tmp_path}/p", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout.split("<head>")[0]))
    assert int(found["width"]) == width
    assert int(found["overflow"]) <= 0, found
    if name == "differing":
        assert float(found["right"]) <= width
    assert (int(found["light"]) < 60) == dark
    if dark:
        assert int(found["bright"]) < 110, found
    assert "broken" not in html.unescape(found["title"])

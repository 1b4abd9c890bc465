"""The page of a report is one file; a headless Chromium shows it narrow, wide and dark."""

import html
import json
import re
import shutil
import subprocess

import flax.linen as fnn
import pytest

from tests.verify.mutations.planting import planted

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")  # fmt: skip


@pytest.fixture(scope="module")
def page():
    report = planted("mlp", {"act": fnn.gelu})().check(["value", "gradient"], dtypes=("float64",))
    report.causes.append(type(report.causes[0])("x", "</script><script>document.title='broken'</script>", ""))
    return report.to_html()


def test_page_is_one_file_and_its_data_cannot_end_the_script(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?(http|//|file)""", page)
    assert page.count("</script>") == 2
    data = re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data.group(1))["first_divergence"]["path"] == "act"
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.parametrize(("width", "dark"), [(375, False), (375, True), (1280, False)])
def test_page_renders(page, tmp_path, width, dark):
    path = tmp_path / "report.html"
    # the page tells its own measures, since a headless dump shows only the document; in a frame, since a window is
    # never narrower than 500 pixels
    probe = """<script>const d = document.documentElement, t = parent.document.documentElement.dataset;
    t.width = innerWidth;
    t.overflow = d.scrollWidth - d.clientWidth;
    t.rows = document.querySelectorAll('#leaves tbody tr').length;
    t.layers = document.querySelectorAll('#layers .layer').length;
    document.querySelectorAll('#leaves th button')[3].click();
    t.top = document.querySelector('#leaves tbody tr td:nth-child(4)').textContent;
    document.getElementById('filter').value = 'ln.'; document.getElementById('filter').oninput();
    t.filtered = document.querySelectorAll('#leaves tbody tr').length;
    t.light = getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0];
    t.title = document.title;</script>"""
    inside = html.escape(page.replace("</body>", f"{probe}</body>"))
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
    assert int(found["rows"]) == 10
    assert int(found["layers"]) == 5
    assert int(found["filtered"]) == 2
    assert float(found["top"]) > 1e-6
    assert (int(found["light"]) < 60) == dark
    assert found["title"] == "jaxgrad check"

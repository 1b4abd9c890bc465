"""What the site is made of, without Sphinx: the names that its pages list, its cells, its links and its cases."""

import inspect
import re
import sys
import types
from pathlib import Path

import pytest

from tests.contract.house import public_functions

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import cases  # noqa: E402
import cells  # noqa: E402
import names  # noqa: E402

sys.path.remove(str(DOCS / "_ext"))

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
README = (DOCS.parent / "README.md").read_text()
CONTRIBUTING = (DOCS.parent / "CONTRIBUTING.md").read_text()
OURS = [*PAGES, *(path for path in sorted(DOCS.parent.glob("*.md")) if path.name != "CONTRIBUTING.md")]


def test_every_public_name_has_a_page():
    listed, public = names.listed(DOCS / "api"), names.public()
    assert sorted(public - listed) == [], "public names that no page of docs/api mentions"
    assert sorted(listed - public) == [], "names on a page of docs/api that nothing exports"


def test_a_name_without_a_page_is_seen(tmp_path):
    (tmp_path / "nth.rst").write_text(".. currentmodule:: jaxgrad.nth\n\n.. autosummary::\n\n   laplacian\n")
    assert names.listed(tmp_path) == {"jaxgrad.nth.laplacian"}
    assert "jaxgrad.nth.jet" in names.public() - names.listed(tmp_path)


PAGE = """\
# Title

```{code-cell}
:tags: [left]

x = 1
```

```python
not a cell
```

```{code-cell}
---
tags: [right]
---
def f():
    return 1 / 0


f()
```
"""
TRACEBACK = """\
\x1b[31mZeroDivisionError\x1b[39m                 Traceback (most recent call last)
\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[2]\x1b[39m\x1b[32m, line 5\x1b[39m
Cell In[2], line 2, in f()
ZeroDivisionError: division by zero
"""


def test_a_failed_cell_is_named_with_page_and_line():
    assert cells.cells(PAGE) == [5, 16]
    told = cells.failure("topics/x.md", PAGE, TRACEBACK)
    assert told == "topics/x.md:21: cell 2, line 5: ZeroDivisionError: division by zero"
    assert PAGE.splitlines()[20] == "f()"


class StoppedError(Exception):
    """What Sphinx ends with; the tests do without Sphinx."""


@pytest.fixture
def sphinx(monkeypatch):
    errors = types.ModuleType("sphinx.errors")
    errors.ExtensionError = StoppedError
    monkeypatch.setitem(sys.modules, "sphinx", types.ModuleType("sphinx"))
    monkeypatch.setitem(sys.modules, "sphinx.errors", errors)


def test_a_failed_cell_stops_the_build(tmp_path, sphinx):
    (tmp_path / "bad.md").write_text(PAGE)
    (tmp_path / "good.md").write_text(PAGE)
    runs = {
        "bad": {"exec_data": {"succeeded": False, "traceback": TRACEBACK}},
        "good": {"exec_data": {"succeeded": True, "traceback": None}},
    }
    app = types.SimpleNamespace(srcdir=tmp_path)
    env = types.SimpleNamespace(
        found_docs={"bad", "good", "text"}, nb_metadata=runs, doc2path=lambda name: str(tmp_path / f"{name}.md")
    )
    with pytest.raises(
        StoppedError, match=r"^cells failed:\nbad\.md:21: cell 2, line 5: ZeroDivisionError: division by zero$"
    ):
        cells.stop(app, env)
    del runs["bad"]
    cells.stop(app, env)


def test_a_public_name_without_a_page_stops_the_build(tmp_path, sphinx, monkeypatch):
    monkeypatch.setattr(names, "public", lambda: {"jaxgrad.nth.jet", "jaxgrad.nth.laplacian"})
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "nth.rst").write_text(".. currentmodule:: jaxgrad.nth\n\n   laplacian\n")
    app = types.SimpleNamespace(srcdir=tmp_path)
    with pytest.raises(StoppedError, match=r"public names without a page: \['jaxgrad\.nth\.jet'\]"):
        names.check(app)
    (tmp_path / "api" / "nth.rst").write_text(".. currentmodule:: jaxgrad.nth\n\n   laplacian\n   jet\n")
    names.check(app)


LATE = """\
nbclient.exceptions.CellTimeoutError: A cell timed out while it was being executed, after 300 seconds.
Here is a preview of the cell contents:
-------------------
{shown}
-------------------

"""


@pytest.mark.parametrize("shown", ["def f():\n    return 1 / 0", "['def f():', '    return 1 / 0']\n...\n['f()']"])
def test_a_cell_that_takes_too_long_is_named_with_page_and_line(shown):
    told = cells.failure("x.md", PAGE, LATE.format(shown=shown))
    assert told.startswith("x.md:17: cell 2, line 1: nbclient.exceptions.CellTimeoutError: A cell timed out")


def test_a_failure_without_a_frame_is_told_too():
    assert (
        cells.failure("x.md", PAGE, "Timeout\nCellTimeoutError: 300 s")
        == "x.md: a cell failed: CellTimeoutError: 300 s"
    )


def test_pages_that_run_are_spread_over_the_processes():
    assert cells.spread(["a", "b", "c", "d", "x", "y"], ["x", "y"]) == ["x", "a", "b", "y", "c", "d"]
    assert cells.spread(["a", "x"], ["x"]) == ["x", "a"]
    assert cells.spread(["a"], []) == ["a"]
    assert sorted(cells.spread(list("abcdexyz"), list("xyz"))) == list("abcdexyz")


def test_every_case_of_the_readme_has_its_place():
    page = cases.page(README)
    rows = re.findall(r"^\| ([A-Z]\d+) \|", README, re.MULTILINE)
    assert re.findall(r"^\(case-(\w+)\)=$", page, re.MULTILINE) == sorted(
        rows, key=lambda row: (list(cases.FAMILIES).index(row[0]), int(row[1:]))
    )
    assert len(rows) > 40


def test_every_case_has_a_page_that_tells_of_it():
    text = "".join(page.read_text() for page in PAGES if page.name != "cases.md")
    assert [row for row in re.findall(r"^\| ([A-Z]\d+) \|", README, re.MULTILINE) if f"#case-{row})" not in text] == []


def test_every_idiom_of_torch_links_to_its_case():
    sections = re.split(r"^## ", (DOCS / "from_torch.md").read_text(), flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections if "#case-" not in section] == []
    assert len(sections) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]*)\)", text)
    if page.name == "cases.md":
        return
    known = {f"#case-{row}" for row in re.findall(r"^\| ([A-Z]\d+) \|", README, re.MULTILINE)}
    for link in links:
        path, _, anchor = link.partition("#")
        if path.startswith(("https://", "http://")):
            continue
        if not path:
            assert link in known or f"({anchor})=" in text or anchor in _headings(text), link
        elif path != "cases.md":
            target = page.parent / path
            assert target.exists(), f"{link} leads nowhere"
            assert not anchor or anchor in _headings(target.read_text()) | known, link


def _headings(text):
    """Return the anchors of the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def forbidden(text):
    """Return the words of a text that CONTRIBUTING does not want."""
    words = re.search(r"^Not used at all: (.*?)\.$", CONTRIBUTING, re.MULTILINE | re.DOTALL)[1].split(",")
    joined = "|".join(" ".join(word.split()) for word in words)
    return re.findall(rf"\b(?:{joined})\b", " ".join(text.split()), re.IGNORECASE)


@pytest.mark.parametrize("page", OURS, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_pages_are_plain(page):
    assert forbidden(page.read_text()) == []


def test_docstrings_are_plain():
    # titles are as their authors wrote them
    texts = {name: inspect.getdoc(item) or "" for name, item in public_functions().items()}
    found = {name: forbidden(text.split("References:")[0]) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_word_that_is_not_wanted_is_seen():
    assert forbidden("Simply a justified text, under the\nhood") == ["Simply", "under the hood"]

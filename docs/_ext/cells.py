"""A page whose cell fails stops the build, with the page, the cell and the line.

MyST-NB runs the cells and goes on after an error; it keeps the traceback, whose frames name the number of the cell and
the line in it. Here the two are looked up in the page.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

FENCE = re.compile(r"^(`{3,}|:{3,})\{code-cell\}")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FRAME = re.compile(r"(?:Cell In|In) ?\[(\d+)\], line (\d+)")
# a cell that ran out of time, or whose kernel died, has no frame: nbclient shows it, in short a list of its first lines
ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*$", re.MULTILINE)
SHOWN = re.compile(r"^-{10,}\n(.+)$", re.MULTILINE)


def cells(page: str) -> list[int]:
    """Return, for every cell of a page, the number of the line in front of its code, counted from one."""
    starts, lines, i = [], page.splitlines(), 0
    while i < len(lines):
        found = FENCE.match(lines[i])
        i += 1
        if not found:
            continue
        if i < len(lines) and lines[i].strip() == "---":  # options in YAML
            i += 1 + next(k for k, line in enumerate(lines[i + 1 :], 1) if line.strip() == "---")
        while i < len(lines) and lines[i].startswith(":") and not lines[i].startswith(found[1]):
            i += 1
        # MyST drops empty lines in front of the code
        while i < len(lines) and not lines[i].strip():
            i += 1
        starts.append(i)
        while i < len(lines) and lines[i].strip() != found[1]:
            i += 1
    return starts


def failure(name: str, page: str, traceback: str) -> str:
    """Return what to say of a page that failed: its name, the cell, the line, and the error.

    Args:
        name: The file of the page.
        page: Its text.
        traceback: Of the failed run, with or without colours.
    """
    traceback = COLOUR.sub("", traceback)
    frames = FRAME.findall(traceback)
    last = ERROR.findall(traceback) or [line for line in traceback.splitlines() if line.strip()]
    error = last[-1].strip() if last else "no traceback"
    starts = cells(page)
    # the first frame is the statement of the cell that ran; later ones may be functions of cells above
    if not frames and (shown := SHOWN.search(traceback)):
        first = ast.literal_eval(shown[1])[0] if "\n...\n" in traceback else shown[1]
        frames = [(cell, 1) for cell, start in enumerate(starts, 1) if page.splitlines()[start] == first]
    if not frames or int(frames[0][0]) > len(starts):
        return f"{name}: a cell failed: {error}"
    cell, line = (int(number) for number in frames[0])
    return f"{name}:{starts[cell - 1] + line}: cell {cell}, line {line}: {error}"


def spread(documents: list[str], runs: list[str]) -> list[str]:
    """Return documents in an order that has those with cells far from each other.

    Sphinx reads neighbours in one process. In the order of the alphabet one process would run all cells.

    Args:
        documents: All, of which each is returned once.
        runs: Those with cells.
    """
    rest = [document for document in documents if document not in runs]
    each = -(-len(rest) // max(len(runs), 1))
    parts = [[run, *rest[i * each : (i + 1) * each]] for i, run in enumerate(runs)]
    return [document for part in parts for document in part] if runs else rest


def prepare(app: Sphinx, env: BuildEnvironment, documents: list[str]) -> None:
    """Bring the documents that are about to be read into that order, and make the cache of runs.

    The first two processes would both begin to make it, and one would find a database without tables.
    """
    from jupyter_cache import get_cache

    get_cache(app.config.nb_execution_cache_path).db.dispose()
    runs = [document for document in documents if cells(Path(env.doc2path(document)).read_text())]
    documents[:] = spread(documents, runs)


def stop(app: Sphinx, env: BuildEnvironment) -> None:
    """Stop the build if a page failed.

    Raises:
        ExtensionError: With a line for every page that failed.
    """
    from sphinx.errors import ExtensionError

    failed = []
    for document in sorted(env.found_docs):
        run: Any = getattr(env, "nb_metadata", {}).get(document, {}).get("exec_data") or {}
        if run and not run["succeeded"]:
            file = Path(env.doc2path(document))
            failed.append(failure(str(file.relative_to(app.srcdir)), file.read_text(), run["traceback"] or ""))
    if failed:
        raise ExtensionError("\n".join(["cells failed:", *failed]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Spread the pages that run before they are read, and look at the runs when all have been."""
    app.connect("env-before-read-docs", prepare)
    app.connect("env-updated", stop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

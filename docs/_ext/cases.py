"""The page of the cases, written from the README's table, with a place to link to for every case: ``case-S1``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FAMILIES = {
    "S": "Shifted parameters",
    "N": "Derivatives of order n",
    "G": "Gradients with respect to the input, the parameters, and of gradients",
    "F": "Function transforms",
    "P": "Per-example gradients",
    "M": "Meta-learning",
    "H": "Curvature",
    "I": "Implicit neural representation",
    "B": "Several backwards through one forward",
}
ROW = re.compile(r"^\| ([A-Z])(\d+) \| (.*?) \| (.*?) \| (.*?) \| (.*) \|$", re.MULTILINE)

HEAD = """# The cases

Each case is a computation that is done with `torch.autograd`. `jaxgrad verify` computes it in JAX and, by an
independent twin, in torch, on the same numbers. In float64 two correct definitions differ by rounding alone, so the
allowed error of a leaf is 1e-10; in float32 our error against the float64 answer is counted in multiples of torch's
own. `jaxgrad verify --case S1` computes one of them here and now. What stands below was measured by `make readme`.
"""


def page(readme: str) -> str:
    """Return the page in Markdown.

    Args:
        readme: The text of the README.
    """
    rows: dict[str, list[str]] = {}
    for letter, number, title, error, noise, verdict in ROW.findall(readme):
        numbers = f"float64 error {error}, float32 noise {noise}: " if error.strip() else ""
        text = f"(case-{letter}{number})=\n### {letter}{number}. {title}\n\n{numbers}{verdict}\n"
        rows.setdefault(letter, []).append(text)
    parts = [f"## {title}\n\n" + "\n".join(rows[letter]) for letter, title in FAMILIES.items() if letter in rows]
    return "\n".join([HEAD, *parts])


def write(app: Sphinx) -> None:
    """Write the page where it is not there as it should be."""
    source = Path(app.srcdir)
    text, file = page((source.parent / "README.md").read_text()), source / "cases.md"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the page before Sphinx looks for pages."""
    app.connect("builder-inited", write, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Formulas without a server: MathJax lies beside the pages. Its package by itself would forbid to read in parallel."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Point the pages to MathJax, and copy it when they are written."""
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", importlib.import_module("sphinx-mathjax-offline").copy_mathjax_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Sphinx's settings for the site; ``make docs`` builds it."""

import hashlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import jaxgrad  # noqa: E402

project = "jaxgrad"
author = "The jaxgrad authors"
copyright = author  # noqa: A001
release = version = jaxgrad.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "cells",
    "cases",
    "names",
    "formulas",
]
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# docstrings: one page a name; `hvp` in single quotes is a link where there is such a name
default_role = "py:obj"
autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Cost"]

# pages: cells run when the site is built, and what has not changed comes from the cache
nb_execution_mode = "cache"
# a run is that of the code that it called: another state of the library has another cache
SOURCES = [HERE.parent / "constraints.txt", *(HERE.parent / "jaxgrad").rglob("*.py")]
STATE = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(SOURCES))).hexdigest()[:16]
CELLS = Path(os.environ.get("JAXGRAD_CELLS", HERE / "_build" / "cells"))  # `.ci/run` has it outside of its clone
nb_execution_cache_path = str(CELLS.absolute() / STATE)
nb_execution_timeout = 300
# what a cell writes to stderr, a warning as a rule, stops the build
nb_output_stderr = "remove-warn"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4

html_theme = "sphinx_book_theme"
html_title = f"jaxgrad {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    # it would lead to the source of the page, which is not copied
    "use_download_button": False,
}
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

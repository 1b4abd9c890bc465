"""Every public name has a place in the API reference: a name without one stops the build."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MODULE = re.compile(r"^\.\. currentmodule:: (\S+)$")
LISTED = re.compile(r"^   (\w+)$|^\.\. data:: (\w+)$")


def listed(api: Path) -> set[str]:
    """Return the full names that the pages of the reference list.

    Args:
        api: The folder of these pages.
    """
    names = set()
    for page in sorted(api.glob("*.rst")):
        module = ""
        for line in page.read_text().splitlines():
            if found := MODULE.match(line):
                module = found[1]
            elif found := LISTED.match(line):
                names.add(f"{module}.{found[1] or found[2]}")
    return names


def public() -> set[str]:
    """Return the full names of all that the modules of the package export; a module counts by what it exports."""
    package = importlib.import_module("jaxgrad")
    names = set()
    for family in (*package.__all__, "verify"):
        module = importlib.import_module(f"jaxgrad.{family}")
        for name in module.__all__:
            thing = getattr(module, name)
            inside = [f"{name}.{own}" for own in thing.__all__] if inspect.ismodule(thing) else [name]
            names.update(f"jaxgrad.{family}.{one}" for one in inside)
    return names


def check(app: Sphinx) -> None:
    """Compare what is exported with what is listed.

    Raises:
        ExtensionError: With the names that are missing on either side.
    """
    from sphinx.errors import ExtensionError

    pages, exported = listed(Path(app.srcdir) / "api"), public()
    if pages != exported:
        missing, stale = sorted(exported - pages), sorted(pages - exported)
        message = f"docs/api: public names without a page: {missing}; pages of names that are not there: {stale}"
        raise ExtensionError(message)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check before anything is built."""
    app.connect("builder-inited", check, priority=90)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

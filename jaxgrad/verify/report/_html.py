"""The report as one page: no server, no other file, light and dark, wide and narrow."""

import json
from importlib import resources
from typing import Any

__all__ = ["page"]


def page(report: dict[str, Any], title: str) -> str:
    """Return the page of a report's plain data.

    Args:
        report: What ``Report.to_dict`` returns.
        title: The words behind ``jaxgrad`` in the title.
    """
    template = resources.files("jaxgrad.verify.report").joinpath("report.html").read_text(encoding="utf-8")
    # the data stands in a script element, where only "<" could end it
    data = json.dumps(report, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return template.replace("{{title}}", title).replace("{{data}}", data)

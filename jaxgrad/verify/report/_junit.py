"""A report as JUnit XML, which every CI reads: one root, one suite, a test case for everything that was judged.

The shape is that of Jenkins' ``junit-10.xsd``, which pytest's reports follow too: counts on the root and the suite,
``error`` for what could not be computed, ``failure`` for what differs.
"""

import xml.etree.ElementTree as ET

from jaxgrad.verify.report._cells import legal
from jaxgrad.verify.report._document import Document, Judged

__all__ = ["to_junit"]

SHORT = 200
"""The most characters of a message: CIs show it in a list; the whole of it is the element's text."""


def to_junit(document: Document) -> str:
    """Return the report as JUnit XML."""
    failed = sum(one.verdict == "failed" for one in document.judged)
    differing = sum(one.verdict not in ("agree", "failed") for one in document.judged)
    counts = {
        "name": f"jaxgrad {document.command}",
        "tests": str(len(document.judged)),
        "failures": str(differing),
        "errors": str(failed),
        "time": f"{document.seconds:.3f}",
    }
    root = ET.Element("testsuites", counts)
    # seconds, without a zone: the one form that every reader takes
    stamp = {"timestamp": document.date[:19]} if document.date else {}
    suite = ET.SubElement(root, "testsuite", {**counts, "skipped": "0", **stamp})
    if document.compared:
        properties = ET.SubElement(suite, "properties")
        for name, value in document.compared:
            ET.SubElement(properties, "property", {"name": legal(name), "value": legal(value)})
    for one in document.judged:
        _add(suite, one)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ET.Element, one: Judged) -> None:
    """Add one test case."""
    attributes = {"classname": legal(one.group), "name": legal(one.name), "time": f"{one.seconds:.6f}"}
    case = ET.SubElement(suite, "testcase", attributes)
    if one.verdict != "agree":
        kind = "error" if one.verdict == "failed" else "failure"
        fault = ET.SubElement(case, kind, {"message": _short(one.message or one.verdict), "type": one.verdict})
        fault.text = legal(one.details or one.message)
    if one.figures:
        ET.SubElement(case, "system-out").text = legal(one.figures)


def _short(message: str) -> str:
    """Return a message in one line that a list has room for."""
    line = legal(" ".join(message.split()))
    return line if len(line) <= SHORT else f"{line[: SHORT - 4]} ..."

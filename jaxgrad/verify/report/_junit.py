"""A report as JUnit XML, which every CI reads: one root, one suite, a test case for everything that was judged.

The shape is that of Jenkins' ``junit-10.xsd``, which pytest's reports follow too: counts on the root and the suite,
``error`` for what could not be computed, ``failure`` for what differs.
"""

import re
import xml.etree.ElementTree as ET

from jaxgrad.verify.report._document import Document, Judged

__all__ = ["to_junit"]

SHORT = 200
"""The most characters of a message: CIs show it in a list; the whole of it is the element's text."""

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, such as the control characters of coloured messages."""


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
            ET.SubElement(properties, "property", {"name": _legal(name), "value": _legal(value)})
    for one in document.judged:
        _add(suite, one)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ET.Element, one: Judged) -> None:
    """Add one test case."""
    attributes = {"classname": _legal(one.group), "name": _legal(one.name), "time": f"{one.seconds:.6f}"}
    case = ET.SubElement(suite, "testcase", attributes)
    if one.verdict != "agree":
        kind = "error" if one.verdict == "failed" else "failure"
        fault = ET.SubElement(case, kind, {"message": _short(one.message or one.verdict), "type": one.verdict})
        fault.text = _legal(one.details or one.message)
    if one.figures:
        ET.SubElement(case, "system-out").text = _legal(one.figures)


def _short(message: str) -> str:
    """Return a message in one line that a list has room for."""
    line = _legal(" ".join(message.split()))
    return line if len(line) <= SHORT else f"{line[: SHORT - 4]} ..."


def _legal(text: str) -> str:
    """Put the sign for an unknown character in place of what XML cannot hold, so that it is seen to be gone."""
    return ILLEGAL.sub("\ufffd", text)

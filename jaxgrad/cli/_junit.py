"""The report as JUnit XML, which every CI reads."""

import re
import xml.etree.ElementTree as ET

from jaxgrad.cli._report import Report
from jaxgrad.verify import Row

__all__ = ["to_junit"]


def to_junit(report: Report) -> str:
    """Return one test case for every row; what differs is a failure with its reason."""
    counts = {"tests": str(len(report.rows)), "failures": str(len(report.differing)), "time": f"{report.seconds:.3f}"}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "jaxgrad verify", **counts, "errors": "0", "skipped": "0"})
    for row in report.rows:
        _add(suite, row)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ET.Element, row: Row) -> None:
    """Add one row to the suite."""
    seconds = sum(time or 0.0 for time in (row.first_call_s, row.second_call_s, row.torch_s))
    attributes = {"classname": f"jaxgrad.verify.{row.case}", "name": _legal(row.quantity), "time": f"{seconds:.6f}"}
    test = ET.SubElement(suite, "testcase", attributes)
    if not row.agrees:
        failure = ET.SubElement(test, "failure", {"message": _legal(row.reason), "type": "differ"})
        failure.text = _legal(row.traceback or row.reason)
    numbers = {"error_f64": row.error_f64, "noise_f32": row.noise_f32, "leaf": row.leaf, "measured": row.measured}
    words = [f"{name}: {value}" for name, value in numbers.items() if value not in (None, "")]
    ET.SubElement(test, "system-out").text = _legal("\n".join(words))


def _legal(text: str) -> str:
    """Drop the control characters that XML 1.0 forbids, such as those of coloured messages."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)

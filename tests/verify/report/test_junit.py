"""The XML of every report has the shape that CIs read: Jenkins' ``junit-10.xsd``."""

import re
import xml.etree.ElementTree as ET

import pytest

from tests.verify.report.samples import reports

REPORTS = reports()

SHAPE = {
    "testsuites": ({"name", "tests", "failures", "errors", "time", "disabled"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": (
        {"classname", "name", "time", "status", "assertions"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
    "system-out": (set(), set()),
}
"""The attributes and the children that an element may have."""


def elements(root):
    yield root
    for child in root:
        assert child.tag in SHAPE[root.tag][1], f"{child.tag} in {root.tag}"
        yield from elements(child)


@pytest.mark.parametrize("name", REPORTS)
def test_the_shape_is_that_of_the_schema(name):
    root = ET.fromstring(REPORTS[name].to_junit())
    assert root.tag == "testsuites"
    for element in elements(root):
        assert set(element.attrib) <= SHAPE[element.tag][0], element.tag
    (suite,) = root
    for counted in (root, suite):
        assert int(counted.get("tests")) == len(suite.findall("testcase"))
        assert int(counted.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(counted.get("errors")) == len(suite.findall("testcase/error"))
    for case in suite.findall("testcase"):
        assert case.get("name")
        assert case.get("classname").startswith("jaxgrad.")
        assert re.fullmatch(r"\d+\.\d+", case.get("time"))
    stamp = suite.get("timestamp")
    assert stamp is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamp)


def test_what_differs_fails_and_what_could_not_be_computed_is_an_error():
    suite = ET.fromstring(REPORTS["differing"].to_junit())[0]
    assert [(case.get("name"), *(child.tag for child in case)) for case in suite.findall("testcase")] == [
        ("value", "failure", "system-out"),
        ("gradient", "failure", "system-out"),
        ("hvp", "system-out"),
        ("step", "error"),
    ]


def test_messages_are_short_and_the_whole_is_the_text():
    for failure in ET.fromstring(REPORTS["cases"].to_junit()).iter("failure"):
        assert len(failure.get("message")) <= 200
        assert "\n" not in failure.get("message")
    suite = ET.fromstring(REPORTS["differing"].to_junit())
    text = suite.find(".//testcase[@name='gradient']/failure").text
    assert "norm.weight <-> norm/scale: error 2.0e-03, 1.25 in JAX, 0.75 in torch at [1]" in text
    assert "proven cause: norm: JAX's epsilon is 1e-6. Set epsilon=1e-05." in text


def test_a_character_that_xml_lacks_is_seen_to_be_gone():
    (failure,) = ET.fromstring(REPORTS["cases"].to_junit()).iter("failure")
    assert failure.get("message").endswith("& \ufffd[31m\ufffd \ufffd größer")


def test_an_audit_has_a_case_for_the_mapping_and_one_for_every_setting():
    suite = ET.fromstring(REPORTS["audit"].to_junit())[0]
    wrong = {case.get("name"): case.find("failure") is not None for case in suite.findall("testcase")}
    assert wrong == {"mapping": True, "epsilon": True, "initial weights": False}

"""Findings as JSON, which has neither infinities nor NaN."""

import dataclasses
import json
import math

from jaxgrad.verify.report._json import number, plain


@dataclasses.dataclass
class Found:
    path: tuple[str, ...]
    error: float


def test_what_json_has_no_number_for():
    assert [number(x) for x in (1.5, math.inf, -math.inf, math.nan, None)] == [1.5, 1e300, -1e300, None, None]


def test_records_tuples_and_objects_become_plain_data():
    found = plain({1: Found(("a", "b"), math.inf), "set": {2}, "flag": True, "type": int})
    assert found == {"1": {"path": ["a", "b"], "error": 1e300}, "set": [2], "flag": True, "type": str(int)}
    json.dumps(found, allow_nan=False)

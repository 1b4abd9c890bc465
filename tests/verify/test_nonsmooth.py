"""The table of kinks is probed from the installed versions, and the doctor says what is installed."""

import json
import math

from jaxgrad.verify import doctor, kinks
from jaxgrad.verify._nonsmooth import Kink


def test_table_holds_the_conventions_of_these_versions():
    table = {(k.function, k.point): k for k in kinks()}
    assert len(table) >= 30
    absolute = table["abs", 0.0]
    assert (absolute.torch_first, absolute.jax_first) == (0.0, 1.0)
    assert not absolute.same_first
    assert table["relu", 0.0].same_first
    assert table["relu", 0.0].same_second
    elu = table["elu", 0.0]
    assert elu.same_first
    assert (elu.torch_second, elu.jax_second) == (0.0, 1.0)
    assert table["clip(0, 1)", 1.0].torch_second == "raises"


def test_nan_is_the_same_as_nan():
    assert Kink("f", 0.0, math.nan, math.nan, "raises", "raises").same_first
    assert Kink("f", 0.0, math.nan, 0.0, "raises", 0.0).same_second is False


def test_doctor_is_plain_data_and_names_what_matters():
    report = doctor()
    assert report["versions"]["jax"]
    assert report["versions"]["torch"]
    assert report["jax"]["jax_enable_x64"] is True
    assert json.loads(json.dumps(report, allow_nan=False)) == report

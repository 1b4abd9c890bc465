"""The ports of four networks to both Flax APIs agree with torch in every quantity."""

import pytest

from tests.verify.ports.pairs import PORTS
from tests.verify.third import every_third


@pytest.mark.parametrize("make", every_third(PORTS.items(), 1))
def test_a_port_agrees(make):
    report = make().check("all")
    assert report.ok, report.table()

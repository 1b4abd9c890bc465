"""The ports of four networks to both Flax APIs agree with torch in every quantity."""

import pytest

from tests.verify.ports.pairs import PORTS
from tests.verify.third import every_third

START = 2
"""The first port that continuous integration runs: of every third, these are two, one to each API."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PORTS)
def test_a_port_agrees_in_every_quantity(name):
    report = PORTS[name]().check("all")
    assert report.ok, report.table()


@pytest.mark.parametrize("make", every_third(PORTS.items(), START))
def test_a_port_agrees_in_the_usual_quantities(make):
    report = make().check()
    assert report.ok, report.table()

"""Matched pairs of every kind of network are never called different, whatever their weights and batches."""

import pytest

from tests.verify.false_alarms import DEPTHS, KINDS, alarms

DTYPES = ("float32", "bfloat16")
SLOW, TAKEN = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.catalogue]

ROWS = [
    *(pytest.param(kind, 2, 5, id=f"{kind} of depth 2, few", marks=TAKEN) for kind in KINDS),
    *(pytest.param(kind, n, 100, id=f"{kind} of depth {n}", marks=SLOW) for kind in KINDS for n in DEPTHS),
]
"""Kind, depth and number of seeds; compiling takes the time, so continuous integration runs the shallow ones."""


@pytest.mark.parametrize(("kind", "depth", "seeds"), ROWS)
def test_matched_pairs_raise_no_alarm(kind, depth, seeds):
    found, error, noise = alarms(kind, depth, seeds, DTYPES)
    assert not found
    # rounding is there to be seen: two sides that never differ by a bit would be one side
    assert error > 0
    assert noise > 0

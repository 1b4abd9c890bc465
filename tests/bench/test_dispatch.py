"""The rows of `bench.dispatch` agree, and a row that does not is never timed."""

import dataclasses

import pytest

from bench import dispatch

ROWS = {row.name: row for row in dispatch.rows()}


# of the pairs of one leaf and fifty, the dearest to compile by hand
DEAR = "sam_gradient with an option, 50 leaves"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == DEAR else n for n in ROWS])
def test_rows_agree_and_are_timed(name):
    ours, by_jit = dispatch.measure(ROWS[name], rounds=2, calls=2)
    assert len(ours) == len(by_jit) == 2
    assert min(*ours, *by_jit) >= 0


def test_a_row_that_disagrees_is_not_timed():
    row = next(iter(ROWS.values()))
    wrong = dataclasses.replace(row, by_jit=lambda: {name: 2 * leaf for name, leaf in row.ours().items()})
    with pytest.raises(AssertionError, match="1 leaf: the two differ"):
        dispatch.measure(wrong, rounds=1, calls=1)

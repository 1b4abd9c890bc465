"""Rows are data: labels are made of the sizes that run, and every name of a row is its own."""

import functools
import string

import numpy as np
import pytest

from bench import _rows
from bench._row import Row, Sizes, label

pytestmark = pytest.mark.torch


@functools.cache
def every():
    return [(family, row) for family in _rows.FAMILIES for row in _rows.rows_of(family)]


def test_no_two_rows_are_called_alike():
    keys = [_rows.key_of(family, row, False) for family, row in every()]
    assert len(set(keys)) == len(keys) > 200


def test_rows_that_are_called_alike_in_small_are_one():
    small = {}
    for family, row in every():
        other = small.setdefault(_rows.key_of(family, row, True), row)
        assert other.build == row.build or other is row, (family, row.name, row.label(True))
        assert other.sizes(True).values == row.sizes(True).values
    for family in _rows.FAMILIES:
        found = [_rows.key_of(family, row, True) for _, row in _rows.chosen("bench", [family], None, quick=True)]
        assert found == [key for key in small if key.startswith(f"{family}.")]


def test_small_sizes_are_sizes_of_the_row_and_show_in_its_label():
    for family, row in every():
        shown = {name for _, name, _, _ in string.Formatter().parse(row.template) if name}
        where = f"{family}.{row.name}"
        assert shown <= set(row.full), where
        # a size that is not shown must not be what a quick run makes smaller
        changed = {name for name in row.small if name in row.full and row.small[name] != row.full[name]}
        assert not changed or changed & shown, where
        assert not changed or row.label(True) != row.label(False), where
        assert _rows.find(family, _rows.key_of(family, row, False), False) is not None


def test_a_label_is_made_of_the_sizes_that_the_build_is_given():
    seen = []
    row = Row("hvp", "MLP {mlp}, batch {batch}", seen.append, {"mlp": (784, 10), "batch": 256}, {"batch": 32})
    assert row.label(False) == "MLP 784-10, batch 256"
    assert row.label(True) == "MLP 784-10, batch 32"
    row.build(row.sizes(True, np.float64, mlp=(4, 2)))
    assert (seen[0].mlp, seen[0].batch, seen[0].dtype) == ((4, 2), 32, np.float64)
    assert row.label(True, mlp=(4, 2)) == "MLP 4-2, batch 32"


def test_a_size_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no size 'depth'; it has mlp"):
        _ = Sizes({"mlp": (1, 2)}).depth
    with pytest.raises(ValueError, match="names sizes that the row has not: batch"):
        label("batch {batch}", {"mlp": (1, 2)})


def test_a_quick_run_of_everything_shows_some_of_each_family():
    found = _rows.chosen("bench", [], None, quick=True)
    assert {family for family, _ in found} == set(_rows.FAMILIES)
    assert len(found) == len(_rows.FAMILIES) * _rows.SHOWN
    assert len(_rows.chosen("bench", ["nth"], None, quick=False)) == len(_rows.rows_of("nth"))

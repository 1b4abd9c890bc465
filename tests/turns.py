"""Some of many in the suite, all of them under ``slow``: for what differs little from one to the next."""

import itertools

import pytest

__all__ = ["covering", "in_turn", "one_in"]


def one_in(n, values, start=0):
    """Return every so-manyth of the values as it is, and the others marked slow."""
    return [_given(i % n == start % n, value) for i, value in enumerate(values)]


def in_turn(kinds, rows):
    """Pair every row with every kind; the rows that are not slow take the kinds one after another, the rest is slow.

    For kinds that differ in what JAX does, not in ours: the rows of a family share its engine and meet all of them.
    """
    kinds, rows = list(kinds), list(rows)
    quick = [i for i, row in enumerate(rows) if not _is_slow(row)]
    if missed := kinds[len(quick) :]:
        message = (
            f"in_turn: of {len(kinds)} kinds, {missed} meet no row that is not slow: give it at least as many quick"
            " rows as kinds"
        )
        raise ValueError(message)
    own = {i: turn % len(kinds) for turn, i in enumerate(quick)}
    return [_given(own.get(i) == k, kind, row) for i, row in enumerate(rows) for k, kind in enumerate(kinds)]


def covering(*parameters):
    """Return the product of the values of some parameters; quick are as few as show every value of each at least once.

    For parameters of one path, where a fault of one value shows whatever the others are. The quick ones are as many as
    the parameter of the most values has; a value that is marked slow is in none of them.
    """
    parameters = [list(values) for values in parameters]
    quick = [[i for i, value in enumerate(values) if not _is_slow(value)] for values in parameters]
    taken = {tuple(of[t % len(of)] for of in quick) for t in range(max(map(len, quick)))}
    places = itertools.product(*(range(len(values)) for values in parameters))
    return [_given(at in taken, *(values[i] for values, i in zip(parameters, at, strict=True))) for at in places]


def _is_slow(value):
    """Say whether a value comes from `pytest.param` with the mark slow."""
    return any(mark.name == "slow" for mark in getattr(value, "marks", ()))


def _given(taken, *values):
    """Join values, of which some come from `pytest.param` with marks of their own."""
    held = [value if isinstance(value, type(pytest.param())) else pytest.param(value) for value in values]
    marks = [mark for one in held for mark in one.marks]
    return pytest.param(*(x for one in held for x in one.values), marks=marks + [pytest.mark.slow] * (not taken))

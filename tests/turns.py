"""Some of many in the suite, all of them under ``slow``: for what differs little from one to the next."""

import pytest

__all__ = ["in_turn", "one_in"]


def one_in(n, values, start=0):
    """Return every so-manyth of the values as it is, and the others marked slow."""
    return [_given(i % n == start % n, value) for i, value in enumerate(values)]


def in_turn(kinds, rows):
    """Pair every row with every kind; those that are not the row's own, one after another, are marked slow.

    For kinds that differ in what JAX does, not in ours: the rows of a family share its engine and meet all of them.
    A step of `one_in` that shares a factor with the number of kinds would leave some of them to slow rows alone.
    """
    kinds, rows = list(kinds), list(rows)
    met = {i % len(kinds) for i, row in enumerate(rows) if not _is_slow(row)}
    missed = [kind for k, kind in enumerate(kinds) if k not in met]
    if missed:
        message = (
            f"in_turn: of {len(kinds)} kinds, {missed} meet no row that is not slow: give one_in a step that shares no"
            f" factor with {len(kinds)}, and at least as many quick rows as kinds"
        )
        raise ValueError(message)
    return [_given(i % len(kinds) == k, kind, row) for i, row in enumerate(rows) for k, kind in enumerate(kinds)]


def _is_slow(value):
    """Say whether a value comes from `pytest.param` with the mark slow."""
    return any(mark.name == "slow" for mark in getattr(value, "marks", ()))


def _given(taken, *values):
    """Join values, of which some come from `pytest.param` with marks of their own."""
    held = [value if isinstance(value, type(pytest.param())) else pytest.param(value) for value in values]
    marks = [mark for one in held for mark in one.marks]
    return pytest.param(*(x for one in held for x in one.values), marks=marks + [pytest.mark.slow] * (not taken))

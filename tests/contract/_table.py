"""All rows of the table of public functions."""

import importlib

import jax.numpy as jnp
import pytest

from tests.bridge import to_jax
from tests.contract.house import FAMILIES

__all__ = ["GROUPED", "ROWS", "in_turn", "of_inputs"]

ROWS = {}
for family in FAMILIES:
    ROWS |= importlib.import_module(f"tests.contract.rows_{family}").ROWS

# the tests of one function share its compiled programs, so they run in one worker
GROUPED = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(ROWS)]


def in_turn(kinds, rows=GROUPED):
    """Pair every row with every kind; those that are not the row's own, one after another, are marked slow.

    For kinds that differ in what JAX does, not in ours: the rows of a family share its engine and meet all of them.
    """
    return [
        pytest.param(kind, *row.values, marks=[*row.marks, *([] if i % len(kinds) == k else [pytest.mark.slow])])
        for i, row in enumerate(rows)
        for k, kind in enumerate(kinds)
    ]


def of_inputs(example, dtype=jnp.float64):
    """Return a row's inputs as JAX arrays of a precision."""
    return to_jax(example.inputs(), dtype)

"""All rows of the table of public functions."""

import importlib

import jax.numpy as jnp
import pytest

from tests.bridge import to_jax
from tests.contract.house import FAMILIES

__all__ = ["GROUPED", "ROWS", "of_inputs"]

ROWS = {}
for family in FAMILIES:
    ROWS |= importlib.import_module(f"tests.contract.rows_{family}").ROWS


def _marks(name):
    """The tests of one function share its compiled programs, so they run in one worker.

    A function that hands out the value too is the body of the one that does not, whose row tries it: its own is slow.
    """
    again = "value_and_" in name and name.replace("value_and_", "") in ROWS
    return [pytest.mark.xdist_group(name), *[pytest.mark.slow] * again]


GROUPED = [pytest.param(name, marks=_marks(name)) for name in sorted(ROWS)]


def of_inputs(example, dtype=jnp.float64):
    """Return a row's inputs as JAX arrays of a precision."""
    return to_jax(example.inputs(), dtype)

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

# the tests of one function share its compiled programs, so they run in one worker
GROUPED = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(ROWS)]


def of_inputs(example, dtype=jnp.float64):
    """Return a row's inputs as JAX arrays of a precision."""
    return to_jax(example.inputs(), dtype)

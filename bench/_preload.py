"""Imports what the processes of `bench._fork` are forked with. Nothing here may compute: JAX would start threads."""

import contextlib
import importlib

from bench import _device, _measure, _run
from bench._rows import FAMILIES, rows_of

__all__ = ["LOADED"]

# a third of the rows compares with it, and its import takes a second: not in every process
with contextlib.suppress(ImportError):
    importlib.import_module("torchjd.aggregation")

LOADED = {family: len(rows_of(family)) for family in FAMILIES}, _device, _measure, _run

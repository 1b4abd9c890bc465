"""Imports what the processes of `bench._fork` are forked with. Nothing here may compute: JAX would start threads."""

from bench import _device, _measure, _run
from bench._rows import FAMILIES, rows_of

__all__ = ["LOADED"]

LOADED = {family: len(rows_of(family)) for family in FAMILIES}, _device, _measure, _run

"""Finds the rows: every family's module has a list ``ROWS``."""

import importlib

from bench._row import Row

__all__ = ["FAMILIES", "find", "rows_of"]

FAMILIES = ("gradient", "shift", "nth", "curvature", "meta", "inr", "per_example", "multi_loss")


def rows_of(family: str) -> list[Row]:
    """Return the rows of a family."""
    return list(importlib.import_module(f"bench.{family}").ROWS)


def find(family: str, name: str) -> Row:
    """Return a row by its family, name and sizes (``hvp: MLP 784-512-512-10, batch 256``)."""
    return next(row for row in rows_of(family) if f"{row.name}: {row.sizes}" == name)

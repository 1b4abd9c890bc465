"""Rows of the tests' own for `python -m bench`: they take no time."""

import jax.numpy as jnp
import torch

from bench import _rows, _session
from bench._row import Contender, Problem, Program, Row

__all__ = ["QUICK", "as_torch", "breaks", "doubled", "give", "small_row"]

QUICK = ["gradient", "--quick", "--rounds", "3", "--no-scaling"]


def doubled(x):
    return 2 * x


def as_torch(x):
    return torch.full((3,), 2.0, dtype=torch.float64 if x.dtype == jnp.float64 else torch.float32)


def breaks(x):
    message = "no such network\nand more"
    raise TypeError(message)


def small_row(name, rival, **options):
    """Return a row of two contenders."""

    def build(size):
        x = jnp.ones(3, size.dtype)
        ours = Contender("jaxgrad", "jax", lambda: doubled(x), Program(doubled, (x,)))
        return Problem([ours, Contender("rival", "torch", lambda: rival(x))], **options)

    return Row(name, "{count} numbers", build, {"count": 3})


def give(monkeypatch, *own):
    """Let the benchmark have these rows, of the family ``gradient``, and no ceilings to measure."""
    monkeypatch.setattr(_rows, "rows_of", lambda family: list(own) if family == "gradient" else [])
    top = {"flops_per_s": 1e9, "bytes_per_s": 1e9}
    monkeypatch.setattr(_session._ceilings, "ceilings", lambda *_: top)

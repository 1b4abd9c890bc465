"""Small cases that need no compilation, right or wrong on purpose."""

import jax.numpy as jnp
import torch

from jaxgrad.verify.cases._case import Case, Criterion, Quantity


def ours(dtype, factor=1.0):
    return {"bias": jnp.zeros(2, dtype), "weight": factor * jnp.arange(1.0, 5.0, dtype=dtype)}


def theirs(dtype):
    dtype = torch.float64 if dtype.itemsize == 8 else torch.float32
    return {"bias": torch.zeros(2, dtype=dtype), "weight": torch.arange(1.0, 5.0, dtype=dtype)}


def right(dtype):
    """Two quantities that agree."""
    return [
        Quantity("all of it", lambda: ours(dtype), lambda: theirs(dtype)),
        Quantity("the sum", lambda: jnp.asarray(10.0, dtype), lambda: theirs(dtype)["weight"].sum(), truth=10.0),
    ]


def wrong(dtype):
    """A quantity that is 1% off, one that raises, and one that agrees after them."""
    return [
        Quantity("1% off", lambda: ours(dtype, 1.01), lambda: theirs(dtype)),
        Quantity("[bold]raises", lambda: 1 // 0, lambda: theirs(dtype)),
        Quantity("agrees", lambda: ours(dtype), lambda: theirs(dtype)),
    ]


def criteria(dtype):
    """A criterion that holds and draws, and one that does not hold."""
    return [
        Criterion("PSNR / dB", lambda: (True, "31.4 dB | good"), draw=lambda figure: figure.add_subplot().plot([1, 2])),
        Criterion("falls", lambda: (False, "rose from 1.0 to 2.0")),
    ]


RIGHT, WRONG, CRITERIA = Case("T1", "right", right), Case("T2", "wrong", wrong), Case("T3", "criteria", criteria)

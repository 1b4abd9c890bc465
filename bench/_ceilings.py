"""What this device can do at most, measured: a large product and a large copy; and where a program lies beneath."""

import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench._measure import clocked

__all__ = ["ceilings", "position"]

LONG_ENOUGH = 0.02
"""Seconds of one product or copy: its size is doubled until it takes so long, or its arrays a sixteenth of memory."""

REPEATS = 5
MOST_BYTES = 2**30
"""Bytes of one array at most."""


def ceilings(dtype: Any, quick: bool) -> dict[str, float]:
    """Return the FLOPs a second of a large product and the bytes a second of a large copy, at a dtype."""
    most = MOST_BYTES // (16 if quick else 1)
    width = np.dtype(dtype).itemsize
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + jnp.ones((), a.dtype))
    side = 512
    while _median(product, _filled((side, side), dtype)) < LONG_ENOUGH and 4 * side * side * width <= most:
        side *= 2
    count = 2**22
    while _median(copy, _filled((count,), dtype)) < LONG_ENOUGH and 2 * count * width <= most:
        count *= 2
    return {
        "flops_per_s": 2 * side**3 / _median(product, _filled((side, side), dtype)),
        "bytes_per_s": 2 * count * width / _median(copy, _filled((count,), dtype)),
        "product_side": side,
        "copy_numbers": count,
    }


def _filled(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array that is in memory."""
    return jax.block_until_ready(jnp.full(shape, 0.5, dtype))


def _median(run: Any, array: Any) -> float:
    """Return the middle of some calls, the first of which compiles and is left out."""
    clocked(lambda: run(array))
    return statistics.median(clocked(lambda: run(array))[0] for _ in range(REPEATS))


def position(flops: float | None, bytes_: float | None, seconds: float, top: dict[str, float]) -> dict[str, Any] | None:
    """Return where a program lies beneath the roofline.

    Args:
        flops: Its operations.
        bytes_: The bytes that its operations read and write.
        seconds: The time of a call.
        top: The ceilings.

    Returns:
        Its FLOPs a byte, what it reaches of the lower of the two ceilings at that intensity, and which one that is;
        ``None`` where XLA counts nothing.
    """
    if not flops or not bytes_ or min(flops, bytes_, seconds) <= 0:
        return None
    intensity = flops / bytes_
    reachable = min(top["flops_per_s"], intensity * top["bytes_per_s"])
    bound = "product" if reachable == top["flops_per_s"] else "memory"
    return {
        "flops_per_byte": intensity,
        "flops_per_s": flops / seconds,
        "part_of_ceiling": flops / seconds / reachable,
        "bound": bound,
    }

"""What this device can do at most, measured: products and copies; and where a program lies beneath.

A ceiling is the best that was seen, over sizes, repeats, and the two ends of a run: a median lies beneath what half of
its calls reach, and rows lay above it. A copy goes into a new buffer and, donated, in place: on a CPU the first waits
for the pages of its buffer, which takes several times as long as the copy. Memory is as fast as the largest copy, which
no cache holds. A program whose arrays are fewer is served by a cache, and is held against the fastest copy of as many
bytes or more.
"""

import functools
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench._measure import clocked

__all__ = ["ceilings", "fastest_copy", "larger", "place", "position"]

LONG_ENOUGH = 0.02
"""Seconds of one product, at which its side is no longer doubled."""

QUICK, FULL = (2, 0.02, (2**20, 2**24, 2**28)), (3, 0.08, (2**20, 2**23, 2**26, 2**29))
"""How many rounds there are over all sizes, for how many seconds a product or a copy is repeated in each, and the bytes
of the arrays that are copied. Rounds, for what slows a copy down, such as a neighbour of the machine, lasts longer."""

product = jax.jit(lambda a: a @ a)
# of a copy without an operation XLA makes another name for the same buffer
copy, copy_in_place = (jax.jit(lambda a: a + jnp.ones((), a.dtype), donate_argnums=given) for given in ((), 0))


def ceilings(dtype: Any, quick: bool) -> dict[str, Any]:
    """Return the most FLOPs a second of large products, and the most bytes a second of copies, the largest alone too.

    Args:
        dtype: Of the numbers.
        quick: Whether fewer sizes are tried, more briefly: a second, in place of four.
    """
    rounds, seconds, sizes = QUICK if quick else FULL
    return functools.reduce(larger, (_round(dtype, seconds, sizes) for _ in range(rounds)))


def _round(dtype: Any, seconds: float, sizes: Sequence[int]) -> dict[str, Any]:
    """Return what is reached in a round over all sizes."""
    width = np.dtype(dtype).itemsize
    flops, side = max(_products(dtype, seconds, sizes[-1] // width))
    copies = [{"bytes": size, "bytes_per_s": _copied(size // width, dtype, seconds)} for size in sizes]
    return {
        "flops_per_s": flops,
        "bytes_per_s": copies[-1]["bytes_per_s"],
        "product_side": side,
        "copies": copies,
    }


def _products(dtype: Any, seconds: float, most: int) -> Iterator[tuple[float, int]]:
    """Yield the FLOPs a second of products of growing squares, of some numbers at most, and their side."""
    side, took = 512, 0.0
    while took < LONG_ENOUGH and side * side <= most:
        array = _filled((side, side), dtype)
        took = min(_calls(functools.partial(product, array), seconds))
        yield 2 * side**3 / took, side
        side *= 2


def _copied(count: int, dtype: Any, seconds: float) -> float:
    """Return the most bytes a second that a copy of some numbers reads and writes."""
    array = _filled((count,), dtype)

    def in_place() -> Any:
        nonlocal array
        array = copy_in_place(array)
        return array

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        best = min(*_calls(functools.partial(copy, array), seconds), *_calls(in_place, seconds))
    return 2 * array.nbytes / best


def _filled(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array that is in memory."""
    return jax.block_until_ready(jnp.full(shape, 0.5, dtype))


def _calls(run: Any, seconds: float) -> Iterator[float]:
    """Yield the seconds of calls, the first of which compiles and is left out, until some seconds are over."""
    clocked(run)
    end = time.perf_counter() + seconds
    yield clocked(run)[0]
    while time.perf_counter() < end:
        yield clocked(run)[0]


def larger(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the larger of two measurements of each ceiling: what else ran then makes one of them too low."""
    first, second = sorted((one, other), key=lambda top: -top["flops_per_s"])
    rates = {copy["bytes"]: copy["bytes_per_s"] for copy in second.get("copies", [])}
    found = {**second, **first, "bytes_per_s": max(one["bytes_per_s"], other["bytes_per_s"])}
    if "copies" in first and "copies" in second:
        found["copies"] = [
            {**copy, "bytes_per_s": max(copy["bytes_per_s"], rates.get(copy["bytes"], 0.0))} for copy in first["copies"]
        ]
    return found


def place(rows: Iterable[dict[str, Any]], top: dict[str, Any]) -> None:
    """Write into the contenders of rows where they lie beneath some ceilings."""
    for line in (line for row in rows for line in row["contenders"] if "roofline" in line):
        known = (line.get(name) for name in ("flops", "bytes", "median_s"))
        line["roofline"] = position(*known, top, line.get("array_bytes"))


def fastest_copy(top: dict[str, Any], bytes_: int | None = None) -> float:
    """Return the most bytes a second of copies of as many bytes, or more: a small one may wait for its call alone.

    Args:
        top: The ceilings.
        bytes_: Of all arrays; ``None`` where it is unknown: then it is that of memory.
    """
    copies = top.get("copies", []) if bytes_ is not None else []
    return max([top["bytes_per_s"], *(copy["bytes_per_s"] for copy in copies if copy["bytes"] >= (bytes_ or 0))])


def position(
    flops: float | None, bytes_: float | None, seconds: float, top: dict[str, Any], array_bytes: int | None = None
) -> dict[str, Any] | None:
    """Return where a program lies beneath the roofline.

    Args:
        flops: Its operations.
        bytes_: The bytes that its operations read and write.
        seconds: The time of a call.
        top: The ceilings.
        array_bytes: The bytes of its arguments, results and temporaries: a cache may hold them.

    Returns:
        Its FLOPs a byte, what it reaches of the lower of the two ceilings at that intensity, and which one that is:
        ``cache`` where copies of its size are faster than memory. ``None`` where XLA counts nothing.
    """
    if not flops or not bytes_ or min(flops, bytes_, seconds) <= 0:
        return None
    intensity = flops / bytes_
    speed = fastest_copy(top, array_bytes)
    reachable = min(top["flops_per_s"], intensity * speed)
    slower = "cache" if speed > top["bytes_per_s"] else "memory"
    return {
        "flops_per_byte": intensity,
        "flops_per_s": flops / seconds,
        "part_of_ceiling": flops / seconds / reachable,
        "bound": "product" if reachable == top["flops_per_s"] else slower,
    }

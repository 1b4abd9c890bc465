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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench._agreement import in_a_line
from bench._measure import clocked

__all__ = ["ceilings", "fastest_copy", "larger", "place", "position"]

FIRST_SIDE = 512
"""Of the smallest product."""

LONG_ENOUGH = 0.02
"""Seconds of one product, at which its side is no longer doubled."""

QUICK, FULL = (2, 0.02, (2**20, 2**24, 2**28)), (3, 0.08, (2**20, 2**23, 2**26, 2**29))
"""How many rounds there are over all sizes, for how many seconds a product or a copy is repeated in each, and the bytes
of the arrays that are copied. Rounds, for what slows a copy down, such as a neighbour of the machine, lasts longer."""

TOO_LARGE = (jax.errors.JaxRuntimeError, MemoryError)
"""What an array raises that does not fit into the memory that is left."""

product = jax.jit(lambda a: a @ a)
# of a copy without an operation XLA makes another name for the same buffer
copy, copy_in_place = (jax.jit(lambda a: a + jnp.ones((), a.dtype), donate_argnums=given) for given in ((), 0))


def ceilings(dtype: Any, quick: bool, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Return the most FLOPs a second of large products, and the most bytes a second of copies, the largest alone too.

    Where an array does not fit into the memory that is left, smaller ones are measured.

    Args:
        dtype: Of the numbers.
        quick: Whether fewer sizes are tried, more briefly: a second, in place of four.
        tell: Is called with a line about each size that did not fit.

    Raises:
        jax.errors.JaxRuntimeError: If not even the smallest product and copy run.
        MemoryError: The same, as the host says it.
    """
    rounds, seconds, sizes = QUICK if quick else FULL
    found: dict[str, Any] = {}
    for _ in range(rounds):
        one = _round(dtype, seconds, sizes, tell)
        # what did not fit is not tried, nor told, in the next round
        sizes = tuple(copy["bytes"] for copy in one["copies"])
        found = larger(found, one)
    return found


def _round(dtype: Any, seconds: float, sizes: Sequence[int], tell: Callable[[str], None]) -> dict[str, Any]:
    """Return what is reached in a round over all sizes."""
    copies = _copies(dtype, seconds, sizes, tell)
    flops, side = max(_products(dtype, seconds, copies[-1]["bytes"] // np.dtype(dtype).itemsize, tell))
    return {
        "flops_per_s": flops,
        "bytes_per_s": copies[-1]["bytes_per_s"],
        "product_side": side,
        "copies": copies,
    }


def _products(dtype: Any, seconds: float, most: int, tell: Callable[[str], None]) -> Iterator[tuple[float, int]]:
    """Yield the FLOPs a second of products of growing squares, of some numbers at most, and their side."""
    side, took = FIRST_SIDE, 0.0
    while took < LONG_ENOUGH and (side * side <= most or side == FIRST_SIDE):
        try:
            array = _filled((side, side), dtype)
            took = min(_calls(functools.partial(product, array), seconds))
        except TOO_LARGE as error:
            if side == FIRST_SIDE:
                raise
            tell(f"a product of {side} x {side}: {in_a_line(error)}; the ceiling is that of smaller ones")
            return
        yield 2 * side**3 / took, side
        side *= 2


def _copies(dtype: Any, seconds: float, sizes: Sequence[int], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the bytes a second of copies of growing arrays; where one does not fit, of its halves till one does."""
    found: list[dict[str, Any]] = []
    left, why = list(sizes), ""
    while left:
        size = left.pop(0)
        try:
            speed = _copied(size // np.dtype(dtype).itemsize, dtype, seconds)
        except TOO_LARGE as error:
            if not found:
                raise
            # in words: the error holds the frames, and they the arrays, for which there is no room
            why = why or f"a copy of {size} bytes: {in_a_line(error)}"
            # nothing larger fits either
            left = [size // 2] if size // 2 > found[-1]["bytes"] else []
            continue
        found.append({"bytes": size, "bytes_per_s": speed})
    if why:
        tell(f"{why}; the ceiling of memory is that of {found[-1]['bytes']} bytes")
    return found


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
    """Return the larger of two measurements of each ceiling: what else ran then makes one of them too low.

    One that is empty adds nothing. Memory is as fast as the largest copy of both: where the one had to do with smaller
    ones, a cache may have held them.
    """
    if not one or not other:
        return one or other
    first, second = sorted((one, other), key=lambda top: -top["flops_per_s"])
    found = {**second, **first, "bytes_per_s": max(one["bytes_per_s"], other["bytes_per_s"])}
    if "copies" in first and "copies" in second:
        rates: dict[int, float] = {}
        for copy in (*first["copies"], *second["copies"]):
            rates[copy["bytes"]] = max(copy["bytes_per_s"], rates.get(copy["bytes"], 0.0))
        found["copies"] = [{"bytes": size, "bytes_per_s": rate} for size, rate in sorted(rates.items())]
        found["bytes_per_s"] = found["copies"][-1]["bytes_per_s"]
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
        ``cache`` where copies of its size are faster than memory. ``None`` where XLA counts nothing, or no ceiling
        could be measured.
    """
    if not top or not flops or not bytes_ or min(flops, bytes_, seconds) <= 0:
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

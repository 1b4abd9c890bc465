"""What XLA says of a program: the time of each phase on the way to it, and its cost."""

import contextlib
import functools
import itertools
import math
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from bench._row import Program

__all__ = ["Cost", "Phases", "cold", "collectives", "compiled_quickly", "cost_of", "fresh_cache", "phases", "use_cache"]


@dataclass(frozen=True)
class Cost:
    """What a program does, which does not depend on how busy the machine is; ``None``: the backend does not tell."""

    flops: float | None
    """Operations; XLA counts the body of a loop once, so with ``scan`` this is a lower bound."""
    bytes: float | None
    """Bytes that its operations read and write."""
    temporary_bytes: int | None
    """The memory that it needs beside its arguments and results."""
    output_bytes: int | None
    """The memory of its results."""
    collective_bytes: int | None
    """The bytes of what its collectives return, on every device: what goes between devices, once."""
    array_bytes: int | None = None
    """The bytes of its arguments, results and temporaries."""


@dataclass(frozen=True)
class Phases:
    """The seconds from a function to a program."""

    trace_s: float
    lower_s: float
    compile_s: float
    """Into an empty persistent cache."""
    warm_compile_s: float
    """The same once more, from that cache: what a second process waits for."""
    cache: str
    """``hit``; or ``miss`` where the cache did not keep the program, and the warm compilation was another cold one."""


_events: list[str] = []
jax.monitoring.register_event_listener(lambda event, **_: _events.append(event) if "cache" in event else None)

SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",
}
"""So that every program goes into the cache, not only what took a second, and is found in a copy of it: the folder of
a cache of a GPU's kernels would be a part of the program's key, on a CPU too."""


@contextlib.contextmanager
def fresh_cache() -> Iterator[str]:
    """Give JAX an empty persistent cache, and its own settings back at the end."""
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache", *SETTINGS)
    before = {name: getattr(jax.config, name) for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-xla-", ignore_cleanup_errors=True) as folder:
        try:
            use_cache(folder)
            yield folder
        finally:
            _configure(before)


def use_cache(folder: str) -> None:
    """Let JAX keep what it compiles in a folder, and look for it there, until the end of the process."""
    _configure({"jax_compilation_cache_dir": folder, "jax_enable_compilation_cache": True, **SETTINGS})


def _configure(settings: dict[str, Any]) -> None:
    """Set what JAX's persistent cache is; it looks at its folder once, and again after a reset."""
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """Compile without LLVM's optimisations: the same numbers and costs, in half the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def traced(program: Program) -> Any:
    """Trace a program anew, whatever has been traced of it, or of what it calls, before.

    A function that is jitted is traced as itself: what is compiled is then the very program that its call runs, which
    finds it in the persistent cache.
    """
    fun, given, options = program.fun, program.args, {}
    while isinstance(fun, functools.partial):
        fun, given, options = fun.func, (*fun.args, *given), {**fun.keywords, **options}
    jax.clear_caches()
    if not hasattr(fun, "trace"):
        return jax.jit(lambda *args: program.fun(*args)).trace(*program.args)
    return fun.trace(*given, **options)


def cold(program: Program) -> tuple[list[float], Any]:
    """Trace, lower and compile a program; return the seconds of each step, and what came of it."""
    marks = [time.perf_counter()]

    def mark(result: Any) -> Any:
        marks.append(time.perf_counter())
        return result

    executable = mark(mark(mark(traced(program)).lower()).compile())
    return [b - a for a, b in itertools.pairwise(marks)], executable


def phases(program: Program, keep: Path | None = None) -> tuple[Phases, Cost]:
    """Trace, lower and compile a program in a fresh cache, then compile it once more from there.

    Args:
        program: The program.
        keep: A folder, such as another cache, that gets what has been compiled.
    """
    with fresh_cache() as folder:
        seconds, executable = cold(program)
        again = traced(program).lower()
        _events.clear()
        start = time.perf_counter()
        again.compile()
        warm = time.perf_counter() - start
        hit = any(event.endswith("cache_hits") for event in _events)
        if keep is not None:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
    return Phases(*seconds, warm, "hit" if hit else "miss"), cost_of(executable)


def cost_of(executable: Any) -> Cost:
    """Read the cost of a compiled program."""
    costs, memory = executable.cost_analysis() or {}, executable.memory_analysis()
    costs = costs if isinstance(costs, dict) else {}
    sizes = [getattr(memory, f"{kind}_size_in_bytes", None) for kind in ("argument", "output", "temp")]
    whole = None if None in sizes else sum(sizes) - memory.alias_size_in_bytes
    text = executable.as_text()
    sent = None if text is None else collective_bytes(text)
    return Cost(costs.get("flops"), costs.get("bytes accessed"), sizes[2], sizes[1], sent, whole)


KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
COLLECTIVE = re.compile(rf"= (.*?) ({KINDS})(-start)?\(")
SHAPE = re.compile(r"\b(?:pred|[a-z]+(\d+)(?:e\d+m\d+\w*)?)\[([\d,]*)\]")


def collectives(text: str) -> dict[str, list[int]]:
    """Return, for every kind of collective in the text of a program, the bytes of the results of each.

    One in the body of a loop stands there once, and counts once, whatever the number of turns.
    """
    found: dict[str, list[int]] = {}
    for result, kind, start in COLLECTIVE.findall(text):
        if start and kind != "all-reduce":
            # a tuple of operands, results and perhaps numbers for synchronization; that of all-reduce is its results
            result = [*_parts(result), result][1] if result.startswith("(") else result
        # a boolean, whose name has no number of bits, takes a byte
        parts = [(int(bits or 8), dims.split(",")) for bits, dims in SHAPE.findall(result)]
        size = sum(bits * math.prod(int(n) for n in dims if n) // 8 for bits, dims in parts)
        found.setdefault(kind, []).append(size)
    return found


def _parts(shape: str) -> list[str]:
    """Split the text of a tuple at its own commas: parts may be tuples, and shapes and layouts have commas too."""
    parts, depth = [""], 0
    for sign in shape[1:-1]:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def collective_bytes(text: str) -> int:
    """Add up the bytes of the results of all collectives in the text of a program."""
    return sum(sum(sizes) for sizes in collectives(text).values())

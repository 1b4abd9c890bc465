"""Programs of a check: what it needs of XLA is a short compilation."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["quick", "run_once"]

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""The arithmetic is the same; on CPU the compilation takes half of the time or less. It is not split over threads,
since the precisions of a check are compiled side by side."""


def quick(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun`` compiled for a few runs; it cannot be part of another program."""
    options: Any = QUICK if jax.default_backend() == "cpu" else None
    return jax.jit(fun, compiler_options=options)  # noqa: TID251 - it goes with the check that made it


def run_once(fun: Callable[..., Any], *args: Any) -> Any:
    """Compile ``fun`` for its arguments, run it, and keep nothing."""
    options: dict[str, Any] = QUICK if jax.default_backend() == "cpu" else {}
    lowered = jax.jit(fun).lower(*args)  # noqa: TID251 - a program that runs once has no place in a cache
    return lowered.compile(compiler_options=options)(*args)

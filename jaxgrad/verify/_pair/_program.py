"""Compile once, run once: what a check needs of XLA is a short compilation."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["run_once"]

QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""The arithmetic is the same; on CPU the compilation takes a quarter of the time."""


def run_once(fun: Callable[..., Any], *args: Any) -> Any:
    """Compile ``fun`` for its arguments and run it."""
    lowered = jax.jit(fun).lower(*args)  # noqa: TID251 - a program that runs once has no place in a cache
    options: dict[str, Any] = QUICK if jax.default_backend() == "cpu" else {}
    return lowered.compile(compiler_options=options)(*args)

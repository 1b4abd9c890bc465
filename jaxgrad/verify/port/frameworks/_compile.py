"""Programs of a check: what it needs of XLA is a short compilation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.port.frameworks._comparisons import compares, without_ties

__all__ = ["QUICK", "quick", "run_once"]

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""On CPU the compilation takes 40% of the processor time (a transformer encoder's whole check 8.6 s and not 22.5 s). It
is not split over threads, since the precisions of a check are compiled side by side.

Loops that compute one number twice may round it differently there. Nothing notices, but for a program that compares
such a number with itself: the gradient of a maximum asks which entries are equal to it, finds none, and divides by
their number. `compares` finds these programs, `without_ties` asks some of them otherwise, and what still compares is
compiled as JAX does by default."""


def quick(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun`` compiled for a few runs; it cannot be part of another program."""
    programs: dict[Any, Any] = {}

    def run(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        kind = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        if kind not in programs:
            programs[kind] = _compile(fun, args)
        return programs[kind](*args)

    return run


def run_once(fun: Callable[..., Any], *args: Any) -> Any:
    """Compile ``fun`` for its arguments, run it, and keep nothing."""
    return _compile(fun, args)(*args)


def _compile(fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Compile a function for its arguments, shortly where that cannot be noticed."""
    traced = _trace(fun, args)
    if jax.default_backend() != "cpu":
        return traced.lower().compile()
    if not compares(traced.jaxpr.jaxpr):
        return traced.lower().compile(compiler_options=_known())
    other = _trace(_asked_otherwise(traced), args)
    short = not compares(other.jaxpr.jaxpr)
    return other.lower().compile(compiler_options=_known()) if short else traced.lower().compile()


def _trace(fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Trace a function for its arguments."""
    return jax.jit(fun).trace(*args)  # noqa: TID251 - the program is kept by who asked for it


def _asked_otherwise(traced: Any) -> Callable[..., Any]:
    """Return the function of a traced program that asks no operand of a maximum for a tie."""
    evaluate, structure = without_ties(traced.jaxpr), jax.tree.structure(traced.out_info)
    return lambda *args: jax.tree.unflatten(structure, evaluate(*jax.tree.leaves(args)))


@functools.cache
def _known() -> dict[str, Any]:
    """Return the options that this XLA has: jax 0.12 has lost one."""
    nothing = jax.jit(lambda x: x).lower(np.float32(0))  # noqa: TID251 - compiled once, to be asked

    def accepted(options: dict[str, Any]) -> bool:
        try:
            nothing.compile(compiler_options=options)
        except Exception:
            return False
        return True

    return QUICK if accepted(QUICK) else {name: value for name, value in QUICK.items() if accepted({name: value})}

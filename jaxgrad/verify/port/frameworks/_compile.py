"""Programs of a check: what it needs of XLA is a short compilation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _jaxpr

__all__ = ["QUICK", "compares", "quick", "run_once"]

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""On CPU the compilation takes 40% of the processor time (a transformer encoder's whole check 8.6 s and not 22.5 s). It
is not split over threads, since the precisions of a check are compiled side by side.

Loops that compute one number twice may round it differently there. Nothing notices, but for a program that compares
such a number with itself: the gradient of a maximum asks which entries are equal to it, finds none, and divides by
their number. `compares` finds these programs, and they are compiled as JAX does by default."""

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def quick(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun`` compiled for a few runs; it cannot be part of another program."""
    traced = jax.jit(fun)  # noqa: TID251 - it goes with the check that made it
    programs: dict[Any, Any] = {}

    def run(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        kind = structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        if kind not in programs:
            programs[kind] = _compile(traced.trace(*args))
        return programs[kind](*args)

    return run


def run_once(fun: Callable[..., Any], *args: Any) -> Any:
    """Compile ``fun`` for its arguments, run it, and keep nothing."""
    return _compile(jax.jit(fun).trace(*args))(*args)  # noqa: TID251 - a program that runs once has no place in a cache


def _compile(traced: Any) -> Any:
    """Compile a traced program, shortly where that cannot be noticed."""
    short = jax.default_backend() == "cpu" and not compares(traced.jaxpr.jaxpr)
    return traced.lower().compile(compiler_options=_known() if short else None)


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


def compares(program: Any) -> bool:
    """Say whether a program compares two floating-point numbers, neither of which is written in it.

    A number that is compared with itself is asked whether it is NaN, which rounding does not change.
    """

    def wanted(eqn: Any) -> bool:
        if eqn.primitive.name not in COMPARISONS:
            return False
        computed = [v for v in eqn.invars if not isinstance(v, _jaxpr.Literal)]
        two = len(computed) == 2 and computed[0] is not computed[1]
        return two and jnp.issubdtype(computed[0].aval.dtype, jnp.floating)

    # a softmax takes the derivative of a maximum that it then leaves alone
    live, _ = _jaxpr.needed(program, [True] * len(program.outvars))
    return _jaxpr.contains(live, wanted)

"""Functions as the bodies of loops."""

from collections.abc import Callable
from typing import Any

import jax

from jaxgrad import _jaxpr
from jaxgrad._uses._program import CONVOLUTION, evaluate

__all__ = ["convolves", "in_a_loop"]


def in_a_loop(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with its convolutions in the order that XLA for CPUs has fast code for inside of loops.

    The order in which a gradient is traced is some ten times slower there. A function with a `jax.checkpoint` stays as
    it is: what it recomputes would be inlined, and kept.
    """

    def called(*args: Any) -> Any:
        program, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        if not _jaxpr.contains(program.jaxpr, _is_a_convolution) or _jaxpr.contains(program.jaxpr, _recomputes):
            return fun(*args)
        found = evaluate(program.jaxpr, program.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return called


def convolves(fun: Callable[..., Any], *args: Any) -> bool:
    """Say whether there is a convolution in a function."""
    return _jaxpr.contains(jax.make_jaxpr(fun)(*args).jaxpr, _is_a_convolution)


def _is_a_convolution(eqn: _jaxpr.JaxprEqn) -> bool:
    """Say whether an equation is a convolution."""
    return eqn.primitive.name == CONVOLUTION


def _recomputes(eqn: _jaxpr.JaxprEqn) -> bool:
    """Say whether an equation is a `jax.checkpoint`."""
    return _jaxpr.checkpoint(eqn) is not None

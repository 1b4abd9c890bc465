"""A gradient differentiated forward, with a refusal that names the operation that allows no forward derivative."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxgrad import _check, _jaxpr
from jaxgrad._types import Tree

__all__ = ["MODES", "check_mode", "forward"]

MODES = ("forward-over-reverse", "reverse-over-reverse")
"""How a gradient is differentiated again."""


def check_mode(mode: str) -> None:
    """Refuse a mode that is none of `MODES`."""
    _check.choice(mode, "mode", MODES)


def forward(gradient: Callable[[Tree], tuple[Tree, Any]], at: Tree) -> Callable[[Tree], tuple[Tree, Any]]:
    """Return ``gradient``, which has an aux, to be differentiated forward: traced, without what is not needed.

    A `jax.custom_vjp` is refused here, at trace time: JAX itself complains when the program is compiled at last.

    Raises:
        TypeError: If a `jax.custom_vjp` stands in the way; with where it is used, and the mode to take instead.
    """
    program, shapes = jax.make_jaxpr(gradient, return_shape=True)(at)
    jaxpr, read = _jaxpr.needed(program.jaxpr, [True] * len(program.jaxpr.outvars))

    def traced(x: Tree) -> tuple[Tree, Any]:
        leaves = [leaf for leaf, used in zip(jax.tree.leaves(x), read, strict=True) if used]
        return jax.tree.unflatten(
            jax.tree.structure(shapes), _jaxpr.jaxpr_as_fun(_jaxpr.ClosedJaxpr(jaxpr, program.consts))(*leaves)
        )

    for name, line in _reverse_only(jaxpr):
        tangent = jax.make_jaxpr(lambda x: jax.jvp(traced, (x,), (x,), has_aux=True)[1])(at)
        if not _jaxpr.contains(
            _jaxpr.needed(tangent.jaxpr, [True] * len(tangent.out_avals))[0], _jaxpr.is_reverse_only
        ):
            break
        message = (
            f'mode="{MODES[0]}" differentiates the gradient forward, which the jax.custom_vjp function'
            f"{name and ' '}{name}{line and f', used at {line},'} does not allow where it is called inside of another"
            f' custom rule; write mode="{MODES[1]}"'
        )
        raise TypeError(message)
    return traced


def _reverse_only(jaxpr: Any) -> Iterator[tuple[str, str]]:
    """List the names of the functions with a reverse rule alone, and where they are used."""
    for eqn in jaxpr.eqns:
        if _jaxpr.has_backward_rule(eqn):
            yield _jaxpr.name_of(eqn), _jaxpr.line_of(eqn)
        for inner in _jaxpr.functions(eqn):
            yield from _reverse_only(inner)

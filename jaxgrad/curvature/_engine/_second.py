"""A gradient differentiated once more, with a refusal that names the operation which does not allow it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxgrad import _check, _jaxpr
from jaxgrad._types import Tree

__all__ = ["MODES", "OF_A_MATRIX", "check_mode", "culprit", "forward", "gradient_of", "refuse_reverse_only"]

MODES = ("forward-over-reverse", "reverse-over-forward", "reverse-over-reverse", "finite-difference")
"""How a gradient is differentiated again."""

OF_A_MATRIX = (MODES[0], MODES[2])
"""The modes in which many products share their work."""


def check_mode(mode: str, allowed: tuple[str, ...] = MODES) -> None:
    """Refuse a mode that is none of the allowed ones."""
    _check.choice(mode, "mode", allowed)


def gradient_of(pair: Callable[[Tree], tuple[Any, Any]]) -> Callable[[Tree], tuple[Tree, tuple[Any, Any]]]:
    """Return the gradient of a loss that has an aux, with the pair of the loss and the aux beside it."""

    def gradient(x: Tree) -> tuple[Tree, tuple[Any, Any]]:
        rest, slope = jax.value_and_grad(pair, has_aux=True)(x)
        return slope, rest

    return gradient


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
            f' custom rule; write mode="{MODES[2]}"'
        )
        raise TypeError(message)
    return traced


def refuse_reverse_only(fun: Callable[[Tree], Any], at: Tree, advice: str) -> None:
    """Refuse a function that is to be differentiated forward and calls one with a reverse rule alone.

    Raises:
        TypeError: With the name of the function inside, where it is used, and what to write instead.
    """
    program = jax.make_jaxpr(fun)(at)
    jaxpr, _ = _jaxpr.needed(program.jaxpr, [True] * len(program.jaxpr.outvars))
    for name, line in _reverse_only(jaxpr):
        message = (
            f"the function is differentiated forward here, which the jax.custom_vjp function{name and ' '}{name}"
            f"{line and f', used at {line},'} does not allow; {advice}"
        )
        raise TypeError(message)


def _reverse_only(jaxpr: Any) -> Iterator[tuple[str, str]]:
    """List the names of the functions with a reverse rule alone, and where they are used."""
    for eqn in jaxpr.eqns:
        if _jaxpr.has_backward_rule(eqn):
            yield _jaxpr.name_of(eqn), _jaxpr.line_of(eqn)
        for inner in _jaxpr.functions(eqn):
            yield from _reverse_only(inner)


def culprit(fun: Callable[[Tree], Any], at: Tree, *, reverse: bool) -> str:
    """Name the operation of a function that has no derivative, and the line that wrote it; empty where all have one."""
    program = jax.make_jaxpr(fun)(at)
    jaxpr, _ = _jaxpr.needed(program.jaxpr, [True] * len(program.jaxpr.outvars))
    found = _first_without(jaxpr, reverse)
    if found is None:
        return ""
    line = _jaxpr.line_of(found)
    return f"{found.primitive.name}{line and f', used at {line},'}"


def _first_without(jaxpr: Any, reverse: bool) -> Any:
    """Return the first equation that has no derivative, the innermost where it holds functions; None without one."""
    for eqn in jaxpr.eqns:
        if not _differentiates(eqn, reverse):
            inside = (_first_without(inner, reverse) for inner in _jaxpr.functions(eqn))
            return next((inner for inner in inside if inner is not None), eqn)
    return None


def _differentiates(eqn: Any, reverse: bool) -> bool:
    """Say whether an equation by itself can be differentiated with respect to its floating-point operands."""
    moving = [_jaxpr.is_inexact(atom) and not isinstance(atom, _jaxpr.Literal) for atom in eqn.invars]

    def derivative(*values: Any) -> Any:
        def fun(*floats: Any) -> list[Any]:
            source = iter(floats)
            whole = [next(source) if move else value for move, value in zip(moving, values, strict=True)]
            return [out for out in _jaxpr.bind(eqn, *whole) if _jaxpr.is_inexact(out)]

        floats = [value for move, value in zip(moving, values, strict=True) if move]
        if reverse:
            out, pullback = jax.vjp(fun, *floats)
            return pullback(out)
        return jax.jvp(fun, floats, floats)

    given = [atom.val if isinstance(atom, _jaxpr.Literal) else atom.aval for atom in eqn.invars]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) if hasattr(a, "shape") else a for a in given]
    try:
        jax.eval_shape(derivative, *shapes)
    except (TypeError, ValueError, NotImplementedError, AssertionError):
        return False
    return True

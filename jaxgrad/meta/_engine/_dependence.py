"""What a loss depends on: one that no parameter enters has a gradient of zero, and nobody would know."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxgrad import _jaxpr, _tree
from jaxgrad._types import Params, Tree, Wrt

__all__ = ["chosen", "depends", "entering", "refuse_independent", "refuse_unused"]


def depends(fun: Callable[..., Any], moving: Tree, *, by_value: bool = False) -> bool:
    """Say whether a derivative of ``fun(moving)`` may be other than zero, or ``by_value`` whether it may change."""
    return bool(entering(fun, moving, by_value=by_value))


def entering(fun: Callable[..., Any], moving: Tree, *data: Any, by_value: bool = False) -> set[str]:
    """Return the paths of the leaves by which a derivative of ``fun(moving, *data)`` may be other than zero.

    Args:
        fun: A function of a tree.
        moving: The tree.
        *data: Arrays, or shapes, that it is also a function of.
        by_value: Whether to return those that may change it at all: through integers and what is stopped, too.
    """
    program = jax.make_jaxpr(fun)(moving, *data)
    _jaxpr.refuse_refs(program.jaxpr, "loss_fn")
    every = 0
    paths = _tree.leaf_paths(moving)
    for bits in _entering(program, len(paths), by_value):
        every |= bits
    return {path for index, path in enumerate(paths) if every >> index & 1}


def chosen(params: Params, wrt: Wrt) -> set[str]:
    """Return the paths of the leaves that ``wrt`` selects."""
    return set(_paths(params, wrt))


def _paths(params: Params, wrt: Wrt) -> list[str]:
    """Return those paths in the order of the leaves."""
    return [path for path, keep in zip(_tree.leaf_paths(params), _tree.selected(params, wrt), strict=True) if keep]


def refuse_independent(judged: Callable[[Params], Any], params: Params, name: str, moved: set[str]) -> None:
    """Refuse a loss after the steps that no parameter enters, or none of those that the steps move.

    Args:
        judged: The loss.
        params: The parameters.
        name: What the loss is called.
        moved: The paths of the leaves that the steps move; where there are none, that is refused elsewhere.

    Raises:
        ValueError: If that is so.
    """
    found = entering(judged, params)
    if found & moved or (found and not moved):
        return
    if found:
        message = (
            f"{name} depends on {', '.join(sorted(found))} alone, and the inner steps move {', '.join(sorted(moved))}:"
            " the adaptation has no part in it. Use the adapted leaves there, or let the steps move what it depends on,"
            " by inner_wrt and a training loss that uses it"
        )
        raise ValueError(message)
    message = (
        f"{name} does not depend on the adapted parameters, so that the meta-gradient is zero: it must use its"
        " first argument, and not parameters that it closes over or stops the gradient of"
    )
    raise ValueError(message)


def refuse_unused(program: _jaxpr.ClosedJaxpr, params: Params, wrt: Wrt) -> None:
    """Refuse an inner loss that the parameters do not enter, or one that was chosen to move and does not enter.

    Where none was chosen, those that do not enter are part of a larger model, and stay where they are.

    Args:
        program: The inner loss, traced: its first arguments are the leaves that move, its first result the value.
        params: The parameters.
        wrt: Which of them move.

    Raises:
        ValueError: If that is so.
    """
    moving = _paths(params, wrt)
    (found, *_) = _entering(program, len(moving))
    unused = [path for index, path in enumerate(moving) if not found >> index & 1]
    if not unused or (wrt is None and len(unused) < len(moving)):
        return
    message = (
        f"the inner loss does not depend on {', '.join(path or 'params' for path in unused)}, which the inner steps are"
        " to move: it must use its first argument, and not parameters that it closes over or stops the gradient of"
    )
    if wrt is not None:
        message += "; or leave them out of inner_wrt (wrt in adapt and reptile_gradient)"
    raise ValueError(message)


def _entering(program: _jaxpr.ClosedJaxpr, count: int, by_value: bool = False) -> list[int]:
    """Return for every result which of the first arguments may move it: bit i stands for argument i."""
    bits = [1 << index if index < count else 0 for index in range(len(program.jaxpr.invars))]
    counts = [by_value or _jaxpr.is_inexact(var) for var in program.jaxpr.invars]
    return _evaluated(program, [bit if count else 0 for bit, count in zip(bits, counts, strict=True)], by_value)


def _evaluated(program: _jaxpr.ClosedJaxpr, bits: Sequence[int], by_value: bool) -> list[int]:
    """Go through a program, nested calls too, with the arguments that a variable may be moved by in its place."""
    union = functools.partial(_union, by_value=by_value)
    return _jaxpr.evaluate(program.jaxpr, [0] * len(program.consts), bits, union, lambda _: 0)


def _union(eqn: _jaxpr.JaxprEqn, bits: list[int], *, by_value: bool) -> list[int]:
    """Return what may move the results of an operation: whatever moves an operand, or nothing."""
    if (body := _jaxpr.call(eqn)) is not None:
        return _evaluated(body, bits, by_value)
    every = 0
    for some in bits if by_value or eqn.primitive.name != "stop_gradient" else ():
        every |= some
    return [every if by_value or _jaxpr.is_inexact(var) else 0 for var in eqn.outvars]

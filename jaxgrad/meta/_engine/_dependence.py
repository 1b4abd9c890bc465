"""What a loss depends on: one that no parameter enters has a gradient of zero, and nobody would know."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxgrad import _jaxpr, _tree
from jaxgrad._types import Params, Tree, Wrt

__all__ = ["depends", "refuse_unused"]


def depends(fun: Callable[..., Any], moving: Tree) -> bool:
    """Say whether a derivative of ``fun(moving)`` may be other than zero."""
    program = jax.make_jaxpr(fun)(moving)
    _jaxpr.refuse_refs(program.jaxpr, "loss_fn")
    return any(_entering(program, len(jax.tree.leaves(moving))))


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
    chosen = [path for path, keep in zip(_tree.leaf_paths(params), _tree.selected(params, wrt), strict=True) if keep]
    (entering, *_) = _entering(program, len(chosen))
    unused = [path for index, path in enumerate(chosen) if not entering >> index & 1]
    if not unused or (wrt is None and len(unused) < len(chosen)):
        return
    message = (
        f"the inner loss does not depend on {', '.join(path or 'params' for path in unused)}, which the inner steps are"
        " to move: it must use its first argument, and not parameters that it closes over or stops the gradient of"
    )
    if wrt is not None:
        message += "; or leave them out of inner_wrt (wrt in adapt and reptile_gradient)"
    raise ValueError(message)


def _entering(program: _jaxpr.ClosedJaxpr, count: int) -> list[int]:
    """Return for every result which of the first arguments may move it: bit i stands for argument i."""
    bits = [1 << index if index < count else 0 for index in range(len(program.jaxpr.invars))]
    given = [bit if _jaxpr.is_inexact(var) else 0 for bit, var in zip(bits, program.jaxpr.invars, strict=True)]
    return _evaluated(program, given)


def _evaluated(program: _jaxpr.ClosedJaxpr, bits: Sequence[int]) -> list[int]:
    """Go through a program, nested calls too, with the arguments that a variable may be moved by in its place."""
    return _jaxpr.evaluate(program.jaxpr, [0] * len(program.consts), bits, _union, lambda _: 0)


def _union(eqn: _jaxpr.JaxprEqn, bits: list[int]) -> list[int]:
    """Return what may move the results of an operation: whatever moves an operand, or nothing."""
    if (body := _jaxpr.call(eqn)) is not None:
        return _evaluated(body, bits)
    every = 0
    for some in bits if eqn.primitive.name != "stop_gradient" else ():
        every |= some
    return [every if _jaxpr.is_inexact(var) else 0 for var in eqn.outvars]

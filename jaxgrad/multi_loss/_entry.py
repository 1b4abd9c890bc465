"""One entry of an array of losses, computed from no more than it needs.

An array that is computed as a whole, a mean over examples for every output say, has one program for all of its
entries. Pulled back with a seed of one 1 among zeros, a loss whose derivative is infinite spoils the rows of the
others: 0 times infinity is NaN. Here the program is narrowed to the entry first: an operation that works along the axis
of the losses, entry by entry, is applied to the one entry, and nothing of the others is read.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import Jaxpr, JaxprEqn, Literal
from jaxgrad._types import Array

__all__ = ["entry"]

WHOLE = None
"""In the place of an axis: the array is needed as it is."""

Narrowed = tuple[list[int | None], dict[str, Any]] | None
"""Along which axis each operand is narrowed, and the parameters of the equation then; ``None``: it has to be whole."""


def entry(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], k: Any) -> Array:
    """Evaluate entry ``k``, which may be traced, of the only result of a program, an array of one axis."""
    (out,) = jaxpr.outvars
    plans, axes = _plan(jaxpr)
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any, axis: int | None) -> Any:
        value = atom.val if isinstance(atom, Literal) else known[atom]
        if axis is None or isinstance(atom, Literal) or axes.get(atom) == axis:
            return value
        return lax.dynamic_slice_in_dim(value, k, 1, axis)

    for eqn, plan in zip(jaxpr.eqns, plans, strict=True):
        operands, params = plan or ([WHOLE] * len(eqn.invars), eqn.params)
        values = [read(atom, axis) for atom, axis in zip(eqn.invars, operands, strict=True)]
        found = _jaxpr.bind(eqn if plan is None else eqn.replace(params=params), *values)
        known.update(zip(eqn.outvars, found, strict=True))
    return jnp.reshape(read(out, 0), ())


def _plan(jaxpr: Jaxpr) -> tuple[list[Narrowed], dict[Any, int]]:
    """Decide from the end which equations are narrowed, and along which axis each result then has one entry."""
    wanted: dict[Any, set[int | None]] = {jaxpr.outvars[0]: {0}}
    plans: list[Narrowed] = []
    axes: dict[Any, int] = {}
    for eqn in reversed(jaxpr.eqns):
        (axis, *more) = {axis for var in eqn.outvars for axis in wanted.get(var, ())} or {WHOLE}
        rule = RULES.get(eqn.primitive.name)
        plan = None
        if rule is not None and axis is not None and not more:
            plan = rule(eqn, axis)
            axes |= {} if plan is None else {eqn.outvars[0]: axis}
        for atom, narrow in zip(eqn.invars, [WHOLE] * len(eqn.invars) if plan is None else plan[0], strict=True):
            if not isinstance(atom, Literal):
                wanted.setdefault(atom, set()).add(narrow)
        plans.append(plan)
    return plans[::-1], axes


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(atom.aval.shape)


def _resized(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """Return a shape with one entry along an axis."""
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _pointwise(eqn: JaxprEqn, axis: int) -> Narrowed:
    """Every operand has the axes of the result, of its length or of length 1, or has none."""
    shape = _shape(eqn.outvars[0])
    given = [_shape(atom) for atom in eqn.invars]
    if any(len(mine) not in (0, len(shape)) for mine in given):
        return None
    return [axis if mine and mine[axis] == shape[axis] else WHOLE for mine in given], eqn.params


def _summed(eqn: JaxprEqn, axis: int) -> Narrowed:
    """A sum over other axes."""
    kept = [i for i in range(len(_shape(eqn.invars[0]))) if i not in eqn.params["axes"]]
    return [kept[axis]], eqn.params


def _transposed(eqn: JaxprEqn, axis: int) -> Narrowed:
    return [eqn.params["permutation"][axis]], eqn.params


def _squeezed(eqn: JaxprEqn, axis: int) -> Narrowed:
    gone = [i % len(_shape(eqn.invars[0])) for i in eqn.params["dimensions"]]
    return [[i for i in range(len(_shape(eqn.invars[0]))) if i not in gone][axis]], eqn.params


def _spread(eqn: JaxprEqn, axis: int) -> Narrowed:
    """A broadcast: the axis is one of the operand's, or new."""
    if eqn.params.get("sharding") is not None or len(eqn.invars) > 1:
        return None
    given, shape = list(eqn.params["broadcast_dimensions"]), _shape(eqn.outvars[0])
    old = given.index(axis) if axis in given else WHOLE
    if old is not WHOLE and _shape(eqn.invars[0])[old] != shape[axis]:
        old = WHOLE
    return [old], {**eqn.params, "shape": _resized(shape, axis)}


def _reshaped(eqn: JaxprEqn, axis: int) -> Narrowed:
    """A reshape that leaves the axis as it is."""
    before, after = _shape(eqn.invars[0]), _shape(eqn.outvars[0])
    if eqn.params.get("sharding") is not None or eqn.params.get("dimensions") is not None or len(eqn.invars) > 1:
        return None
    same = [
        i for i in range(len(before)) if before[i] == after[axis] and math.prod(before[:i]) == math.prod(after[:axis])
    ]
    return ([same[0]], {**eqn.params, "new_sizes": _resized(after, axis)}) if same else None


def _contracted(eqn: JaxprEqn, axis: int) -> Narrowed:
    """A product of matrices: the axis is one of the batch, of the left side or of the right."""
    (left_sum, right_sum), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    if eqn.params.get("out_sharding") is not None:
        return None
    left_free, right_free = (
        [i for i in range(len(_shape(atom))) if i not in (*summed, *batch)]
        for atom, summed, batch in zip(eqn.invars, (left_sum, right_sum), (left_batch, right_batch), strict=True)
    )
    sources: list[list[int | None]] = [[a, b] for a, b in zip(left_batch, right_batch, strict=True)]
    sources += [[i, WHOLE] for i in left_free] + [[WHOLE, i] for i in right_free]
    return sources[axis], eqn.params


RULES: dict[str, Callable[[JaxprEqn, int], Narrowed]] = {
    **dict.fromkeys(
        ("mul", "div", "add", "add_any", "sub", "neg", "convert_element_type", "copy", "select_n", "pvary"), _pointwise
    ),
    "reduce_sum": _summed,
    "transpose": _transposed,
    "squeeze": _squeezed,
    "broadcast_in_dim": _spread,
    "reshape": _reshaped,
    "dot_general": _contracted,
}
"""By primitive: what a linear program mostly consists of. Any other is evaluated whole, and narrowed then."""

"""What a traced program holds, counted before it is compiled."""

from collections.abc import Iterable
from typing import Any

from jaxgrad import _jaxpr

__all__ = ["bytes_of", "peak_bytes"]


def bytes_of(variables: Iterable[Any]) -> int:
    """Return the size of variables of a jaxpr, in bytes."""
    return sum(_size(var) for var in variables)


def peak_bytes(jaxpr: Any) -> int:
    """Return the most bytes of results that are alive at one time while a jaxpr is evaluated in its order.

    A result lives from the equation that makes it to the last one that reads it; arguments are not counted. An
    equation that holds functions has their peak on top.
    """
    last = {atom: i for i, eqn in enumerate(jaxpr.eqns) for atom in eqn.invars if isinstance(atom, _jaxpr.Var)}
    outvars = {atom for atom in jaxpr.outvars if isinstance(atom, _jaxpr.Var)}
    alive: dict[Any, int] = {}
    peak = total = 0
    for i, eqn in enumerate(jaxpr.eqns):
        made = {var: _size(var) for var in eqn.outvars if not isinstance(var, _jaxpr.DropVar)}
        inside = max((peak_bytes(body) for body in _jaxpr.functions(eqn)), default=0)
        # the results of a call are what its function made last
        peak = max(peak, total + max(inside, sum(made.values())))
        alive |= made
        total += sum(made.values())
        read = {atom for atom in eqn.invars if isinstance(atom, _jaxpr.Var)}
        for var in read | set(made):
            if var in alive and last.get(var, -1) <= i and var not in outvars:
                total -= alive.pop(var)
    return peak


def _size(var: Any) -> int:
    """Return the size of a variable in bytes; 0 for what is no array."""
    aval = var.aval
    return aval.size * aval.dtype.itemsize if hasattr(aval, "shape") and hasattr(aval.dtype, "itemsize") else 0

"""What several losses share of a linear program, and what each has for itself."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import Jaxpr, JaxprEqn, Var

__all__ = ["Split", "runs", "split"]


class Split(NamedTuple):
    """A linear program of several results in two stages."""

    boundary: list[Var]
    """What the second stage reads of the first, beside the tangents of the leaves."""
    trunk: Jaxpr
    """Maps tangents of the leaves to the boundary: every result needs every operation."""
    heads: list[Jaxpr]
    """Map tangents of the leaves, and the boundary, to one result each."""


def split(jaxpr: Jaxpr, results: Sequence[int]) -> Split:
    """Split off what some of the results all need.

    No other loss passes through an operation than those that need it, so that the infinities of one stay its own.
    """
    moving = _moving(jaxpr)
    live = [_live(jaxpr, k) for k in results]
    shared = set.intersection(*[set(map(id, eqns)) for eqns in live])
    # what does not depend on the tangents is a constant to both stages
    fixed = {id(eqn) for eqn in jaxpr.eqns if moving.isdisjoint(eqn.outvars)}
    trunk = [eqn for eqn in jaxpr.eqns if id(eqn) in shared]
    own = [[eqn for eqn in eqns if id(eqn) not in shared - fixed] for eqns in live]
    made = {var for eqn in trunk for var in eqn.outvars} & moving
    ends = [jaxpr.outvars[k] for k in results]
    read = [atom for eqns in own for eqn in eqns for atom in eqn.invars] + ends
    boundary = list(dict.fromkeys(atom for atom in read if isinstance(atom, Var) and atom in made))
    heads = [
        _jaxpr.restricted(jaxpr, [end]).replace(invars=[*jaxpr.invars, *boundary], eqns=eqns)
        for end, eqns in zip(ends, own, strict=True)
    ]
    return Split(boundary, _jaxpr.restricted(jaxpr, boundary).replace(eqns=trunk), heads)


def runs(jaxpr: Jaxpr, results: Sequence[int], most: int) -> list[list[int]]:
    """Group results, in their order, that share at least half of the operations of the smallest of them.

    A loss that shares less, a penalty on the weights beside losses of the outputs, would leave them no trunk.
    """
    found: list[list[int]] = []
    common: set[int] = set()
    least = 0
    for k in results:
        mine = set(map(id, _live(jaxpr, k)))
        least = min(least, len(mine)) if found else 0
        if found and len(found[-1]) < most and 2 * len(common & mine) >= max(least, 1):
            found[-1].append(k)
            common &= mine
        else:
            found.append([k])
            common, least = mine, len(mine)
    return found


def _live(jaxpr: Jaxpr, k: int) -> list[JaxprEqn]:
    """Return the equations that one result needs."""
    return _jaxpr.live_equations(_jaxpr.restricted(jaxpr, [jaxpr.outvars[k]]))


def _moving(jaxpr: Jaxpr) -> set[Var]:
    """Return the variables that depend on the tangents."""
    moving = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(isinstance(atom, Var) and atom in moving for atom in eqn.invars):
            moving.update(eqn.outvars)
    return moving

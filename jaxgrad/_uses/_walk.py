"""The walk over a linear program that finds where the parameters enter it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import JaxprEqn, Var
from jaxgrad._uses import _layout
from jaxgrad._uses._layout import Layout
from jaxgrad._uses._program import Body, shape_of
from jaxgrad._uses._rules import has_rule
from jaxgrad._uses._views import Path, Piece, Site, View

__all__ = ["Found", "structural", "walk"]


RESHAPES = {"reshape", "squeeze", "expand_dims", "broadcast_in_dim"}
"""Operations that keep the entries of an array in their order, where they keep their number."""


class Found(NamedTuple):
    """What the walk found."""

    sites: dict[Path, Site]
    escapes: dict[int, str]
    """Leaves that enter an operation without a rule, with its name."""


def walk(body: Body, shapes: Sequence[Sequence[int]]) -> Found:
    """Follow every leaf from the inputs of a linear program to the operations that consume it."""
    found = Found({}, {})
    views = {
        var: View((Piece(leaf, _layout.layout_of(shape), ()),))
        for leaf, (var, shape) in enumerate(zip(body.invars, shapes, strict=True))
        if 0 not in shape
    }
    _walk_body(body, views, set(body.invars), (), (), found)
    return found


def _walk_body(
    body: Body, views: dict[Any, View], linear: set[Any], path: Path, lengths: tuple[int, ...], found: Found
) -> None:
    """Walk the equations of one body; ``linear`` grows by every variable that depends on a tangent."""
    for i, eqn in enumerate(body.eqns):
        moving = [j for j, v in enumerate(eqn.invars) if isinstance(v, Var) and v in linear]
        if not moving:
            continue
        linear.update(eqn.outvars)
        held = [j for j in moving if eqn.invars[j] in views]
        if i in body.scans:
            _walk_scan(eqn, body.scans[i], views, linear, (*path, i), lengths, found)
        elif held:
            _walk_use(eqn, moving, held, views, (*path, i), lengths, found)
    for atom in body.outvars:
        if isinstance(atom, Var) and atom in views:
            _escape(views[atom], "the output of a scan" if path else "the loss itself", found)


def _walk_use(
    eqn: JaxprEqn,
    moving: list[int],
    held: list[int],
    views: dict[Any, View],
    path: Path,
    lengths: tuple[int, ...],
    found: Found,
) -> None:
    """Sort one use of views: a view again, a site, or an operation without a rule."""
    view = structural(eqn, held, views) if held == moving else None
    if view is not None:
        views[eqn.outvars[0]] = view
        return
    position = held[0]
    if len(moving) == 1 and has_rule(eqn, position, views[eqn.invars[position]]):
        found.sites[path] = Site(path, eqn, position, views[eqn.invars[position]], lengths)
        return
    for j in held:
        _escape(views[eqn.invars[j]], eqn.primitive.name, found)


def _escape(view: View, why: str, found: Found) -> None:
    """Note that the leaves of a view enter something without a rule."""
    for piece in view.pieces:
        found.escapes.setdefault(piece.leaf, why)


def structural(eqn: JaxprEqn, held: list[int], views: dict[Any, View]) -> View | None:
    """Return the view that an equation makes of views, where it only moves their entries."""
    name, (first, *others) = eqn.primitive.name, [views[eqn.invars[j]] for j in held]
    out = shape_of(eqn.outvars[0])
    if name == "concatenate":
        return _concatenation(eqn.params["dimension"], [first, *others]) if len(held) == len(eqn.invars) else None
    if name in {"convert_element_type", "copy", "copy_p", "reduce_precision"}:
        return first
    if len(first.pieces) > 1:
        if name != "transpose":
            return None
        order = eqn.params["permutation"]
        pieces = [piece._replace(layout=_layout.transpose(piece.layout, order)) for piece in first.pieces]
        return View(tuple(pieces), order.index(first.axis))
    (piece,) = first.pieces
    if name == "transpose":
        layout: Layout | None = _layout.transpose(piece.layout, eqn.params["permutation"])
    elif (
        name in RESHAPES
        and out.size == shape_of(eqn.invars[0]).size
        and not (name == "reshape" and eqn.params["dimensions"])
    ):
        layout = _layout.reshape(piece.layout, out.shape)
    else:
        layout = None
    return None if layout is None else View((piece._replace(layout=layout),))


def _concatenation(axis: int, parts: list[View]) -> View | None:
    """Join views along an axis, where all of it can still be told apart."""
    if any(len(part.pieces) > 1 and part.axis != axis for part in parts):
        return None
    pieces = tuple(piece for part in parts for piece in part.pieces)
    distinct = len({piece.leaf for piece in pieces}) == len(pieces)
    return View(pieces, axis) if distinct else None


def _walk_scan(
    eqn: JaxprEqn,
    inner: Body,
    views: dict[Any, View],
    linear: set[Any],
    path: Path,
    lengths: tuple[int, ...],
    found: Found,
) -> None:
    """Walk into a scan: constants are shared by its iterations, stacked inputs are sliced into them."""
    loop = _jaxpr.as_scan(eqn)
    assert loop is not None, "only scans have bodies"
    constants, carries = loop.consts, loop.carries
    inside: dict[Var, View] = {}
    for j, (outer, var) in enumerate(zip(eqn.invars, inner.invars, strict=True)):
        if not isinstance(outer, Var) or outer not in views:
            continue
        view = views[outer]
        if constants <= j < constants + carries or (j >= constants and len(view.pieces) > 1 and view.axis == 0):
            _escape(view, "the carry of a scan" if j < constants + carries else "scan", found)
        elif j < constants:
            inside[var] = View(tuple(p._replace(loops=(*p.loops, None)) for p in view.pieces), view.axis)
        else:
            pieces = tuple(Piece(p.leaf, p.layout[1:], (*p.loops, p.layout[0])) for p in view.pieces)
            inside[var] = View(pieces, max(view.axis - 1, 0))
    moving = [isinstance(outer, Var) and outer in linear for outer in eqn.invars]
    first, carry, rest = moving[:constants], moving[constants : constants + carries], moving[constants + carries :]
    carry, _ = _jaxpr.settled(inner, first, carry, rest)
    inputs = {var for var, moves in zip(inner.invars, first + carry + rest, strict=True) if moves}
    _walk_body(inner, inside, inputs, path, (*lengths, loop.length), found)

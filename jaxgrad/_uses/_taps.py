"""Zero taps: one transposition of the linear program gives every cotangent that the algebra needs.

A tap is a perturbation of zero, such as flax's ``Module.perturb`` makes. It takes the place of a leaf's tangent, where
its cotangent is that leaf's gradient, or of the output of a site, where its cotangent is the right factor. No weight
gradient is contracted at a tapped site.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr, _sharding
from jaxgrad._jaxpr import JaxprEqn, Literal, Scan, Var
from jaxgrad._types import Array
from jaxgrad._uses._program import Body, Program, bind, evaluate, read, shape_of
from jaxgrad._uses._views import Path, Site

__all__ = ["Tapped", "run"]


class Tapped(NamedTuple):
    """What one backward pass of one example leaves."""

    loss: Array
    aux: Any
    operands: dict[Path, Array]
    """The known operand of every site, with an axis in front for every scan around."""
    cotangents: dict[Path, Array]
    """The cotangent of the output of every site, likewise."""
    gradients: dict[int, Array]
    """The gradient of every tapped leaf."""


def run(
    program: Program, sites: dict[Path, Site], tapped: Sequence[int], leaves: Sequence[Array], example: Sequence[Array]
) -> Tapped:
    """Run one example forward, and its linear program backward once."""
    loss, aux, residuals = program.forward(*leaves, *example)
    body = program.linear
    env = dict(body.consts) | dict(zip(body.residuals, residuals, strict=True))
    operands = _operands(body, env, sites, ())
    ready = set(env)
    shapes = {i: _sharding.shape_like(jax.typeof(leaves[i]), leaves[i].shape) for i in tapped}
    outputs = {path: _output(site, 0) for path, site in sites.items()}

    def linear(at_leaves: dict[int, Array], at_sites: dict[Path, Array]) -> Array:
        inputs = {body.invars[i]: tap for i, tap in at_leaves.items()}
        return _push(body, env | inputs, ready, at_sites, sites, ())[0]

    if isinstance(body.outvars[0], Literal):
        zeros = jax.tree.map(lambda s: _sharding.zeros(s), (shapes, outputs))
        return Tapped(loss, aux, operands, zeros[1], zeros[0])
    pullback = jax.linear_transpose(linear, shapes, outputs)
    if program.convolves:
        pullback = _in_order(pullback)
    gradients, cotangents = pullback(_sharding.like(jnp.ones((), loss.dtype), loss))
    return Tapped(loss, aux, operands, cotangents, gradients)


def _in_order(pullback: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """Bring the convolutions of a transposition into XLA's order, which it does not keep."""

    def ordered(seed: Array) -> Any:
        closed, shapes = jax.make_jaxpr(pullback, return_shape=True)(seed)
        return jax.tree.unflatten(jax.tree.structure(shapes), evaluate(closed.jaxpr, closed.consts, [seed]))

    return ordered


def _output(site: Site, depth: int) -> jax.ShapeDtypeStruct:
    """Return the shape of a site's tap, inside of ``depth`` of its scans."""
    aval = shape_of(site.eqn.outvars[0])
    return _sharding.shape_like(aval, (*site.lengths[depth:], *aval.shape))


def _below(path: Path, sites: Iterable[Path]) -> list[Path]:
    """Return the paths that stand inside of a scan."""
    return [p for p in sites if len(p) > len(path) and p[: len(path)] == path]


def _is_ready(eqn: JaxprEqn, env: Any) -> bool:
    """Say whether all inputs of an equation have a value."""
    return all(isinstance(atom, Literal) or atom in env for atom in eqn.invars)


def _scan(eqn: JaxprEqn) -> Scan:
    """Return what an equation that has a body says of its scan."""
    loop = _jaxpr.as_scan(eqn)
    assert loop is not None, "only scans have bodies"
    return loop


def _still(loop: Scan, inner: Body, known: set[Var]) -> set[Var]:
    """Drop the carries of a scan that start known and move in a later iteration: tangents that start at zero."""
    moving, last = [var not in known for var in inner.invars], loop.consts + loop.carries
    carry, _ = _jaxpr.settled(inner, moving[: loop.consts], moving[loop.consts : last], moving[last:])
    late = {var for var, moves in zip(inner.invars[loop.consts : last], carry, strict=True) if moves}
    return known - late


def _operands(body: Body, env: dict[Var, Any], sites: dict[Path, Site], path: Path) -> dict[Path, Array]:
    """Evaluate what is known in a body, into ``env``, and return the known operands of its sites."""
    found: dict[Path, Array] = {}
    for i, eqn in enumerate(body.eqns):
        here = (*path, i)
        if here in sites:
            found[here] = jnp.asarray(read(env, sites[here].operand))
        elif _is_ready(eqn, env):
            env.update(zip(eqn.outvars, bind(eqn, [read(env, atom) for atom in eqn.invars]), strict=True))
        elif inside := _below(here, sites):
            found |= _operands_of_scan(eqn, body.scans[i], env, {p: sites[p] for p in inside}, here)
    return found


def _operands_of_scan(
    eqn: JaxprEqn, inner: Body, env: dict[Var, Any], sites: dict[Path, Site], path: Path
) -> dict[Path, Array]:
    """Return the known operands of the sites in a scan, stacked over its iterations."""
    loop = _scan(eqn)
    constants, carries = loop.consts, loop.carries
    given = {
        var: read(env, atom)
        for atom, var in zip(eqn.invars, inner.invars, strict=True)
        if isinstance(atom, Literal) or atom in env
    }
    still = _still(loop, inner, set(given))
    shared = {var: given[var] for var in inner.invars[:constants] if var in given} | dict(inner.consts)
    stacked = {var: given[var] for var in inner.invars[constants + carries :] if var in given}
    carried = [j for j, var in enumerate(inner.invars[constants : constants + carries]) if var in still]
    found, rest = {}, {}
    for here, site in sites.items():
        if len(here) == len(path) + 1 and site.operand in stacked:
            found[here] = stacked[site.operand]
        else:
            rest[here] = site
    if not rest:
        return found
    keys, ends = list(stacked), inner.outvars[:carries]

    def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], dict[Path, Array]]:
        local = shared | dict(zip(keys, slices, strict=True))
        local |= {inner.invars[constants + j]: value for j, value in zip(carried, carry, strict=True)}
        out = _operands(inner, local, rest, path)
        return [read(local, ends[j]) for j in carried], out

    start = [given[inner.invars[constants + j]] for j in carried]
    _, late = lax.scan(step, start, list(stacked.values()), length=loop.length, reverse=loop.reverse)
    return found | late


def _push(
    body: Body, env: dict[Var, Any], ready: set[Var], taps: dict[Path, Array], sites: dict[Path, Site], path: Path
) -> list[Any]:
    """Evaluate a body with taps at the outputs of its sites; ``ready`` holds what does not move."""
    ready = set(ready)
    for i, eqn in enumerate(body.eqns):
        here = (*path, i)
        if here in taps:
            env[eqn.outvars[0]] = taps[here]
        elif inside := _below(here, taps):
            out = _push_scan(eqn, body.scans[i], env, ready, {p: taps[p] for p in inside}, sites, here)
            env.update(zip(eqn.outvars, out, strict=True))
        elif eqn.outvars[0] not in env and _is_ready(eqn, env):
            env.update(zip(eqn.outvars, bind(eqn, [read(env, atom) for atom in eqn.invars]), strict=True))
            if _is_ready(eqn, ready):
                ready.update(eqn.outvars)
        # what is left moves views of leaves that are tapped where they are used
    return [read(env, atom) for atom in body.outvars]


def _push_scan(
    eqn: JaxprEqn,
    inner: Body,
    env: dict[Var, Any],
    ready: set[Var],
    taps: dict[Path, Array],
    sites: dict[Path, Site],
    path: Path,
) -> Sequence[Any]:
    """Evaluate a scan with taps among its stacked inputs, in the order that its transposition asks for."""
    loop = _scan(eqn)
    constants, carries = loop.consts, loop.carries
    pairs = list(zip(eqn.invars, inner.invars, strict=True))
    present = [isinstance(atom, Literal) or atom in env for atom, _ in pairs]
    unmoved = _still(loop, inner, {var for atom, var in pairs if isinstance(atom, Literal) or atom in ready})
    still = [var in unmoved for _, var in pairs]
    indices = range(len(pairs))
    shared = sorted((j for j in indices if j < constants and present[j]), key=lambda j: not still[j])
    carry = list(range(constants, constants + carries))
    stacked = sorted((j for j in indices if j >= constants + carries and present[j]), key=lambda j: still[j])
    paths, order = list(taps), [*shared, *carry, *stacked]
    depth = len(path)

    def step(*args: Any) -> list[Any]:
        first, at_taps, rest = _cut(args, len(shared) + carries, len(paths))
        local = dict(inner.consts) | dict(zip((inner.invars[j] for j in order), (*first, *rest), strict=True))
        known = {inner.invars[j] for j in order if still[j]} | set(inner.consts)
        return _push(inner, local, known, dict(zip(paths, at_taps, strict=True)), sites, path)

    inputs = [inner.invars[j].aval for j in order]
    first, _, rest = _cut(inputs, len(shared) + carries, 0)
    closed = jax.make_jaxpr(step)(*first, *(_output(sites[p], depth) for p in paths), *rest)
    values = [read(env, pairs[j][0]) for j in order]
    first, _, rest = _cut(values, len(shared) + carries, 0)
    return _jaxpr.bind_scan(loop._replace(body=closed, consts=len(shared)), [*first, *taps.values(), *rest])


def _cut(values: Sequence[Any], first: int, middle: int) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Cut a sequence in three."""
    return values[:first], values[first : first + middle], values[first + middle :]

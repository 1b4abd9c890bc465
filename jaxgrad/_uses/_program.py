"""The linear program of one example: what `jax.linearize` leaves of a loss, ready to be walked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxgrad._types import Array

__all__ = ["Body", "Program", "bind", "evaluate", "linear_program", "narrows", "read", "shape_of"]

CONVOLUTION = "conv_general_dilated"


class Body(NamedTuple):
    """A jaxpr without calls, with the bodies of its scans."""

    eqns: list[JaxprEqn]
    residuals: list[Var]
    """What is known beside the inputs: empty in the body of a scan, where it comes in by the inputs."""
    invars: list[Var]
    outvars: list[Any]
    consts: dict[Var, Any]
    scans: dict[int, "Body"]
    """The body of every scan, by the index of its equation."""


class Program(NamedTuple):
    """The loss of one example, and its derivative."""

    known: ClosedJaxpr
    """``known(*leaves, *example)`` returns the loss, the leaves of aux, and the residuals of ``linear``."""
    linear: Body
    """Maps tangents of the leaves to the tangent of the loss."""
    aux: Any
    """The structure of aux."""

    def forward(self, *args: Any) -> tuple[Array, Any, list[Any]]:
        """Evaluate ``known``, and return the loss, aux and the residuals."""
        loss, *rest = jax.core.eval_jaxpr(self.known.jaxpr, self.known.consts, *args)
        count = self.aux.num_leaves
        return loss, self.aux.unflatten(rest[:count]), rest[count:]

    @property
    def convolves(self) -> bool:
        """Whether there is a convolution anywhere."""
        return _jaxpr.contains(self.known.jaxpr, _convolves)

    def activation_bytes(self, leaves: int) -> int:
        """Return the size of the residuals that depend on the example: what the backward pass keeps beside it."""
        given = set(self.known.jaxpr.invars)
        moving = set(self.known.jaxpr.invars[leaves:])
        for eqn in self.known.jaxpr.eqns:
            if any(isinstance(atom, Var) and atom in moving for atom in eqn.invars):
                moving.update(eqn.outvars)
        residuals = self.known.jaxpr.outvars[1 + self.aux.num_leaves :]
        kept = {atom for atom in residuals if isinstance(atom, Var) and atom in moving - given}
        return sum(shape_of(atom).size * shape_of(atom).dtype.itemsize for atom in kept)


def read(env: dict[Var, Any], atom: Any) -> Any:
    """Return the value of a variable or a literal."""
    return atom.val if isinstance(atom, Literal) else env[atom]


def shape_of(atom: Any) -> Any:
    """Return the shape and dtype of a variable or a literal."""
    return atom.aval


def bind(eqn: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """Apply the operation of an equation to values."""
    if eqn.primitive.name == CONVOLUTION:
        return [convolve(*values, **eqn.params)]
    return _jaxpr.bind(eqn, *values)


def convolve(lhs: Array, rhs: Array, **params: Any) -> Array:
    """Convolve with the channels last, in the order ``NHWC, HWIO``.

    XLA for CPUs brings a convolution into that order, the only one it has fast code for, outside of loops only; inside
    of one it is some twenty times slower.
    """
    numbers: lax.ConvDimensionNumbers = params["dimension_numbers"]
    rank = lhs.ndim
    last = lax.ConvDimensionNumbers(
        (0, rank - 1, *range(1, rank - 1)), (rank - 1, rank - 2, *range(rank - 2)), (0, rank - 1, *range(1, rank - 1))
    )
    lhs_order, rhs_order, out_order = (
        [spec[i] for i in _positions(target)] for spec, target in zip(numbers, last, strict=True)
    )
    out = lax.conv_general_dilated_p.bind(
        jnp.transpose(lhs, lhs_order), jnp.transpose(rhs, rhs_order), **{**params, "dimension_numbers": last}
    )
    return jnp.transpose(out, _positions(out_order))


def _positions(order: Sequence[int]) -> list[int]:
    """Return the inverse of a permutation."""
    return sorted(range(len(order)), key=lambda i: order[i])


def linear_program(fun: Callable[..., Any], leaves: Sequence[Any], example: Any) -> Program | None:
    """Trace the loss of one example, and split it into what is known and what is linear in the leaves.

    Args:
        fun: ``fun(leaves, *example)`` returns the loss, of shape ``()``, and aux.
        leaves: Arrays, or their shapes and dtypes.
        example: Tuple of trees of shapes and dtypes, without the leading axis of the batch.

    Returns:
        The two programs; evaluating one after the other is ``jax.jvp``. ``None`` for a loss with mutable arrays, whose
        derivative is no program that can be transposed by itself.
    """
    flat, treedef = jax.tree.flatten(example)
    structure: Any = treedef
    count = len(leaves)
    primal, shapes = jax.make_jaxpr(
        lambda *xs: fun(list(xs[:count]), *structure.unflatten(xs[count:])), return_shape=True
    )(*leaves, *flat)
    if _jaxpr.contains(primal.jaxpr, _jaxpr.has_refs):
        return None
    if _jaxpr.contains(primal.jaxpr, _is_rewritten):
        primal = _inline(primal)
    captured: list[Jaxpr] = []

    def known(*xs: Any) -> list[Any]:
        def loss_and_aux(*active: Any) -> tuple[Any, list[Any]]:
            loss, *aux = jax.core.eval_jaxpr(primal.jaxpr, primal.consts, *active, *xs[count:])
            return loss, aux

        loss, pushforward, aux = jax.linearize(loss_and_aux, *xs[:count], has_aux=True)
        linear = jax.make_jaxpr(pushforward)(*xs[:count])
        captured.append(linear.jaxpr)
        return [loss, *aux, *linear.consts]

    split = jax.make_jaxpr(known)(*leaves, *flat)
    return Program(split, _body(captured[-1], ()), jax.tree.structure(shapes[1]))


def _body(jaxpr: Jaxpr, consts: Sequence[Any]) -> Body:
    """Inline the calls of a jaxpr, and those of its scans; constants without a value become residuals."""
    open_count = len(jaxpr.constvars) - len(consts)
    inputs = [v.aval for v in (*jaxpr.constvars[:open_count], *jaxpr.invars)]

    def run(*xs: Any) -> list[Any]:
        return evaluate(jaxpr, [*xs[:open_count], *consts], xs[open_count:])

    closed = jax.make_jaxpr(run)(*inputs)
    flat = closed.jaxpr
    loops = {i: loop.body for i, eqn in enumerate(flat.eqns) if (loop := _jaxpr.as_scan(eqn))}
    scans = {i: _body(inner.jaxpr, inner.consts) for i, inner in loops.items()}
    values = dict(zip(flat.constvars, closed.consts, strict=True))
    return Body(flat.eqns, flat.invars[:open_count], flat.invars[open_count:], flat.outvars, values, scans)


def _convolves(eqn: JaxprEqn) -> bool:
    """Say whether an equation is a convolution."""
    return eqn.primitive.name == CONVOLUTION


def _is_rewritten(eqn: JaxprEqn) -> bool:
    """Say whether an equation hides its activations inside the backward pass, or has an order of XLA's own."""
    return _convolves(eqn) or _jaxpr.checkpoint(eqn) is not None


def narrows(jaxpr: Any, kept: Any) -> bool:
    """Say whether a real or complex number is computed anywhere in a dtype that is narrower than ``kept``."""
    made = [shape_of(v).dtype for eqn in jaxpr.eqns for v in eqn.outvars]
    if any(jnp.issubdtype(d, jnp.inexact) and jnp.finfo(d).bits < 8 * kept.itemsize for d in made):
        return True
    return any(narrows(inner, kept) for eqn in jaxpr.eqns for inner in _jaxpr.functions(eqn))


def _inline(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Inline the calls of a jaxpr, in the bodies of its scans too, and bring its convolutions into XLA's order."""
    return jax.make_jaxpr(lambda *xs: evaluate(closed.jaxpr, closed.consts, xs))(*closed.in_avals)


def evaluate(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr with its calls and checkpoints inlined and its convolutions in XLA's order."""
    return _jaxpr.evaluate(jaxpr, consts, args, _operate)


def _operate(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
    """Evaluate one equation, the body of a call in place of the call."""
    kept, loop = _jaxpr.checkpoint(eqn), _jaxpr.as_scan(eqn)
    body = kept.body if kept else _jaxpr.call(eqn)
    if body is not None:
        return evaluate(body.jaxpr, body.consts, values)
    if loop and _jaxpr.contains(loop.body.jaxpr, _is_rewritten):
        return bind(_jaxpr.with_body(eqn, _inline(loop.body)), values)
    return bind(eqn, values)

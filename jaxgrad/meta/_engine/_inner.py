"""The gradient of the inner loss, with a choice of how it is differentiated once more.

A meta-gradient needs the product of the Hessian of the inner loss with what comes back from the later steps. Reverse
mode over reverse mode gets it by transposing the backward pass, and keeps, or computes again, all that both passes
computed. The Hessian of a function is symmetric, so that forward mode over reverse mode gives the same product: a
gradient, pushed forward along what comes back. It keeps nothing but the parameters and the data.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jax.custom_derivatives import SymbolicZero

from jaxgrad import _jaxpr, _sharding, _tree
from jaxgrad._types import Params, Tree

__all__ = ["KEPT", "Traced", "line_of_doubt", "line_without_symmetry", "mixed", "reverse"]

KEPT = "jaxgrad inner gradient"
"""The name under which `jax.checkpoint` is told to keep the gradient of a step, which then is not computed again."""


def _folder(file: str) -> str:
    return os.path.dirname(os.path.abspath(file)) + os.sep


OF_OPTAX = _folder(str(optax.__file__))
TRUSTED = (_folder(str(jax.__file__)), OF_OPTAX, _folder(os.path.dirname(os.path.dirname(__file__))))
"""Where the rules of derivatives that a loss brings are those of its functions: JAX, optax, and this package."""


OF_RULES = os.path.join("jax", "_src", "custom_derivatives.py")
"""The file of JAX in which the rules that others give are dressed."""


OF_ROOTS = os.path.join("control_flow", "solves.py")
"""That in which `jax.lax.custom_root` has its rule, which solves a linear system as the user says."""


class Traced:
    """A loss and what it returns beside its value, traced once for each kind of its arguments."""

    def __init__(self, pair: Callable[..., Any]):
        """Keep the function: ``pair(active, *data)`` returns the value and the aux."""
        self._pair = pair
        self._known: dict[Any, tuple[Any, Any]] = {}

    def program(self, *args: Tree) -> tuple[Any, Any]:
        """Return the program for arguments of this kind, and the shapes of what it returns.

        Raises:
            NotImplementedError: If it writes to a mutable array, which a step that is computed again cannot.
        """
        leaves, structure = jax.tree.flatten(args)
        kind = (structure, *map(jax.typeof, leaves))
        if kind not in self._known:
            self._known[kind] = jax.make_jaxpr(self._pair, return_shape=True)(*args)
            _jaxpr.refuse_refs(self._known[kind][0].jaxpr, "loss_fn")
        return self._known[kind]


def reverse(traced: Traced, active: Params, *data: Tree) -> tuple[tuple[Any, Tree], Params]:
    """Return ``((value, aux), gradient)``, to be differentiated as it stands."""
    program, shapes = traced.program(active, *data)

    def pair(active: Params) -> Any:
        results = jax.core.eval_jaxpr(program.jaxpr, program.consts, *jax.tree.leaves((active, *data)))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return jax.value_and_grad(pair, has_aux=True)(active)


def line_of_doubt(traced: Traced, active: Params, *data: Tree) -> str | None:
    """Return the line for which mixed mode cannot be taken: for want of symmetry, or as it has no forward mode."""
    program = traced.program(active, *data)[0].jaxpr
    line = line_without_symmetry(program)
    if line is not None or not _jaxpr.contains(program, _jaxpr.has_backward_rule):
        return line

    def slopes(active: Params) -> Params:
        return reverse(traced, active, *data)[1]

    try:
        jax.eval_shape(lambda active: jax.jvp(slopes, (active,), (active,)), active)
    except TypeError:
        # its rule calls one that has no forward rule, as that of an ODE solver does
        return "a rule that has no forward mode"
    return None


def line_without_symmetry(program: Any) -> str | None:
    """Return the line where a traced loss brings a rule that need not be the derivative; ``None`` where none does.

    With such a rule (a reversed or clipped gradient, a straight-through estimator) the gradient is not the gradient of
    a function, and its Jacobian need not be symmetric. `jax.lax.stop_gradient` leaves it symmetric: what is stopped is
    a constant in every derivative, of the loss that has it as a constant.
    """
    for eqn in program.eqns:
        if _is_doubtful(eqn):
            return _jaxpr.line_of(eqn) or eqn.primitive.name
        # what is inside of a rule that can be trusted is not what is differentiated
        inside = () if eqn.primitive.name == _jaxpr.CUSTOM_JVP else _jaxpr.functions(eqn)
        lines = [line_without_symmetry(body) for body in inside]
        found = [line for line in lines if line is not None]
        if found:
            return found[0]
    return None


def _is_doubtful(eqn: _jaxpr.JaxprEqn) -> bool:
    """Say whether an equation has a rule of its own that nobody vouches for.

    The rules of a function of `jax.custom_gradient` stand in JAX's file of such rules, and are the user's; those of
    ``defjvps`` too, and there the function says whose they are.
    """
    if eqn.primitive.name == _jaxpr.CUSTOM_JVP:
        (file, _), (rule, _) = _jaxpr.custom_jvp_origins(eqn)
        if rule.endswith(OF_ROOTS):
            return True
        origins: tuple[str, ...] = (file,) if rule.endswith(OF_RULES) else (rule,)
    elif _jaxpr.has_backward_rule(eqn):
        origins = _jaxpr.custom_vjp_origins(eqn)
        # optax.scale_gradient has a rule that is no derivative
        if origins[-1].endswith(OF_RULES) or any(origin.startswith(OF_OPTAX) for origin in origins):
            return True
    else:
        # from jax 0.12 custom_root, and other rules, are a primitive that cannot be looked into
        hidden = eqn.primitive.name == "call_hi_primitive" and _jaxpr.checkpoint(eqn) is None
        return hidden or eqn.primitive.name == "linear_call"
    return not all(os.path.abspath(origin).startswith(TRUSTED) for origin in origins)


def mixed(traced: Traced, active: Params, *data: Tree) -> tuple[tuple[Any, Tree], Params]:
    r"""Return ``((value, aux), gradient)``, with products by forward over reverse mode.

    With :math:`g(\theta, c) = \nabla_\theta L(\theta, c)` and the cotangent :math:`v` of :math:`g`,

    .. math:: v^T \frac{\partial g}{\partial (\theta, c)} = \nabla_{(\theta, c)} \, \langle g(\theta, c), v \rangle
              = \frac{d}{d\epsilon} \nabla_{(\theta, c)} L(\theta + \epsilon v, c),

    where :math:`c` is everything else that is floating-point: the data, and what the loss closes over, which may depend
    on meta-parameters. Labels, keys and flags have no derivative. The first derivative must be in reverse mode; those
    of it may be in any, and of any order.
    """
    program, shapes = traced.program(active, *data)
    # what the loss closes over is an argument too: a rule of custom_vjp must not close over what is differentiated
    given = [*program.consts, *jax.tree.leaves(data)]
    counts = [_jaxpr.is_inexact(leaf) for leaf in map(jnp.asarray, given)]
    floats = [leaf for leaf, float_ in zip(given, counts, strict=True) if float_]
    others = [leaf for leaf, float_ in zip(given, counts, strict=True) if not float_]
    treedef: Any = jax.tree.structure(active)

    def loss(active: Params, floats: list[Any], others: list[Any]) -> tuple[Any, Tree]:
        source = iter(floats), iter(others)
        merged = [next(source[0]) if float_ else next(source[1]) for float_ in counts]
        consts, rest = merged[: len(program.consts)], merged[len(program.consts) :]
        results = jax.core.eval_jaxpr(program.jaxpr, consts, *treedef.flatten_up_to(active), *rest)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    def plain(active: Params, floats: list[Any], others: list[Any]) -> Any:
        beside, gradient = jax.value_and_grad(loss, has_aux=True)(active, floats, others)
        return beside, jax.tree.map(_with_room, gradient)

    def forward(active: Params, floats: list[Any], others: list[Any]) -> tuple[Any, Any]:
        values = [jax.tree.map(lambda leaf: leaf.value, tree) for tree in (active, floats, others)]
        moving = _Moving(tuple(leaf.perturbed for leaf in floats))
        # as it stands, and not by the rule once more: so that the meta-gradient can be differentiated forward too
        return plain(*values), (*values, moving)

    def backward(kept: Any, cotangents: Any) -> tuple[Any, Any, None]:
        active, floats, others, moving = kept
        back, back_floats = _pulled_back(loss, active, floats, others, moving.flags, *cotangents)
        return back, back_floats, None

    of = jax.custom_vjp(plain)
    of.defvjp(forward, backward, symbolic_zeros=True)
    return of(active, floats, others)


@jtu.register_static
@dataclass(frozen=True)
class _Moving:
    """Which of the floats something is differentiated by: known when the program is traced."""

    flags: tuple[bool, ...]


def _pulled_back(
    loss: Callable[..., Any],
    active: Params,
    floats: list[Any],
    others: list[Any],
    moving: Sequence[bool],
    beside: Any,
    along: Params,
) -> tuple[Params, list[Any]]:
    """Return what comes back to the parameters, and to the floats that move: by the gradient, the value and the aux."""

    def of_moving(active: Params, some: list[Any]) -> Any:
        source = iter(some)
        return loss(active, [next(source) if m else x for m, x in zip(moving, floats, strict=True)], others)

    def slopes(active: Params) -> tuple[Params, list[Any]]:
        return jax.grad(lambda *at: of_moving(*at)[0], argnums=(0, 1))(active, some)

    some = [x for m, x in zip(moving, floats, strict=True) if m]
    total: Any = jax.tree.map(jnp.zeros_like, (active, some))
    if _is_used(along):
        along = jax.tree.map(_as_array, along, is_leaf=_is_zero)
        total = _product(lambda along: jax.jvp(slopes, (active,), (along,))[1], along, active)
    if _is_used(beside):
        pull = jax.vjp(of_moving, active, some)[1]
        total = _tree.add(total, pull(jax.tree.map(_as_array, beside, is_leaf=_is_zero)))
    source = iter(total[1])
    return total[0], [next(source) if m else None for m in moving]


LARGE = 2.0**10
"""What comes back to a gradient in float16 is split here, and at `LARGE` times every unit but the last."""

UNITS = (1.0, 2.0**20, 2.0**40)
"""What each part is divided by before it is multiplied, so that its entries fit into float16 with all of their bits.

Adam's slope at a gradient of zero is 1 / eps = 1e8, and Adafactor's 1e15, times the learning rate. The last part
reaches to 7e16; beyond, the product is NaN or infinity.
"""


def _with_room(gradient: Any) -> Any:
    """Return a gradient in float32 where it is in float16, so that what comes back to it may be larger than 65504."""
    return gradient.astype(jnp.float32) if gradient.dtype == jnp.float16 else gradient


def _product(times_hessian: Callable[[Params], Tree], along: Params, active: Params) -> Tree:
    """Return a Hessian product, for float16 in parts by the size of a vector's entries, which would overflow or vanish.

    An optimizer's slope at a gradient of zero does not fit into float16. Where a whole row of the Hessian is zero too,
    behind a dead unit, its product is zero all the same, but infinity times zero would be NaN.
    """
    narrow = jax.tree.map(lambda leaf: leaf.dtype == jnp.float16, active)
    if not any(jax.tree.leaves(narrow)):
        return times_hessian(along)

    def part(index: int) -> Params:
        def one(v: Any, leaf: Any, is_narrow: bool) -> Any:
            sizes = sum((jnp.abs(v) > LARGE * unit).astype(int) for unit in UNITS[:-1])
            chosen = sizes == index if is_narrow else jnp.full(v.shape, index == 0)
            return (jnp.where(chosen, v, jnp.zeros_like(v)) / UNITS[index]).astype(leaf.dtype)

        return jax.tree.map(one, along, active, narrow)

    def back(*parts: Any) -> Any:
        wide = _tree.accumulator(parts[0].dtype)
        terms = [unit * part.astype(wide) for unit, part in zip(UNITS, parts, strict=True)]
        return sum(terms[1:], terms[0]).astype(parts[0].dtype)

    return jax.tree.map(back, *(times_hessian(part(index)) for index in range(len(UNITS))))


def _is_zero(leaf: Any) -> bool:
    return isinstance(leaf, SymbolicZero)


def _is_used(cotangents: Tree) -> bool:
    """Say whether anything comes back at all."""
    return not all(map(_is_zero, jax.tree.leaves(cotangents, is_leaf=_is_zero)))


def _as_array(leaf: Any) -> Any:
    """Return a cotangent as an array, where it is known to be zero too."""
    if not _is_zero(leaf):
        return leaf
    if leaf.dtype == jax.dtypes.float0:
        return np.zeros(leaf.shape, jax.dtypes.float0)
    return _sharding.zeros(leaf.aval)

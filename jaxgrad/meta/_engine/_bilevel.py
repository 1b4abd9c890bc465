"""A bilevel problem: inner steps, an outer loss of where they lead, and its gradient by one of three methods."""

import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt
from jaxgrad.meta._engine._dependence import chosen, depends, entering, refuse_independent
from jaxgrad.meta._engine._descent import Descent, descend, first_of, value_and_grad
from jaxgrad.meta._engine._implicit import System, implicit_slope
from jaxgrad.meta._engine._tasks import arguments

__all__ = ["METHODS", "Bilevel", "Method", "bilevel", "refuse_constant", "refuse_without_theorem"]

Method = Literal["implicit", "unrolled", "forward"]
"""How the outer loss is differentiated through the inner problem."""

METHODS = ("implicit", "unrolled", "forward")


class Bilevel(NamedTuple):
    """What a bilevel problem gives."""

    gradient: Tree
    """By the hyper-parameters."""
    value: Array
    """The outer loss after the inner steps."""
    aux: Tree
    """What the outer loss returns beside it."""
    after: Descent
    """What the inner steps leave behind."""
    told: tuple[Any, ...]
    """How far to trust the theorem; of ``None`` for the other methods."""


def bilevel(
    inner_loss: Callable[..., Any],
    outer_loss: Callable[..., Any],
    params: Params,
    hyper: Tree,
    inner_data: Tree,
    outer_data: Tree,
    *,
    optimizer: Any,
    method: Method,
    system: System,
    memory: Any,
    has_aux: bool,
    inner_wrt: Wrt,
    axis_name: AxisName,
    num_steps: int,
    per_step: bool,
) -> Bilevel:
    """Take the inner steps, and differentiate the outer loss by the hyper-parameters; as `hypergradient` has it.

    Raises:
        ValueError: If a loss does not depend on what it must, or is no scalar.
    """
    of_inner = _of_both(inner_loss, "inner_loss", axis_name)
    judge = _of_both(outer_loss, "outer_loss", axis_name, has_aux)
    batch = arguments(first_of(inner_data, num_steps, "inner_data") if per_step else inner_data)

    def inner(both: tuple[Params, Tree]) -> Array:
        return of_inner(both, *batch)[0]

    def outer(params: Params, hyper: Tree) -> tuple[Array, Tree]:
        return judge((params, hyper), *arguments(outer_data))

    def judged(params: Params) -> Array:
        return outer(params, hyper)[0]

    both = _sharding.replicated((params, hyper), axis_name)
    # inside of shard_map the derivative is that of the device's own losses
    params, hyper = _sharding.own(lambda both: (inner(both), outer(*both)[0]), both)
    in_optimizer = callable(optimizer)
    refuse_constant(lambda h: inner((params, h)), judged, params, hyper, in_optimizer=in_optimizer)
    # an optimizer of the hyper-parameters may move what the inner loss does not use, by a decay
    used = chosen(params, None) if in_optimizer else entering(lambda params: inner((params, hyper)), params)
    refuse_independent(judged, params, "outer_loss", chosen(params, inner_wrt) & used)

    def adapted(hyper: Tree, memory: Any) -> Descent:
        # cast here and not in the program of a step, whose constants mixed mode casts itself
        constants = _sharding.vary(hyper, frozenset(_sharding.names(axis_name)))

        def loss_fn(params: Params, *data: Any) -> Array:
            return of_inner((params, constants), *data)[0]

        steps: Any = {"num_steps": num_steps, "per_step": per_step, "wrt": inner_wrt, "memory": memory}
        rule = optimizer(hyper) if callable(optimizer) else optimizer
        return descend(loss_fn, params, inner_data, optimizer=rule, **steps)

    def total(hyper: Tree, memory: Any) -> tuple[Array, tuple[Tree, Descent]]:
        after = adapted(hyper, memory)
        value, aux = outer(after.params, hyper)
        return value, (aux, after)

    if method == "implicit":
        after = adapted(hyper, "checkpoint")
        (value, aux), gradient, told = _at_minimum(inner, outer, after.params, hyper, inner_wrt, system)
        return Bilevel(gradient, value, aux, after, told)
    if method == "unrolled":
        (value, (aux, after)), gradient = value_and_grad(lambda hyper: total(hyper, memory), hyper)
    else:
        (value, (aux, after)), gradient = _forward(lambda hyper: total(hyper, "unrolled"), hyper)
    return Bilevel(gradient, value, aux, after, (None,) * 5)


def _same(leaf: Any) -> Any:
    return leaf


def _of_both(
    loss_fn: Callable[..., Any], name: str, axis_name: AxisName, has_aux: bool = False
) -> Callable[..., tuple[Array, Tree]]:
    """Return a loss, with its aux, of the pair of both trees, which `_sharding` then takes for parameters."""

    def of_both(both: tuple[Params, Tree], *data: Any) -> tuple[Array, Tree]:
        out = loss_fn(*both, *data)
        value, aux = _check.pair(out, name) if has_aux else (out, None)
        return _check.real_scalar(value, name), aux

    return _sharding.mean_of(of_both, axis_name, has_aux=True)


def _at_minimum(
    inner: Callable[..., Array], outer: Callable[..., Any], params: Params, hyper: Tree, wrt: Wrt, system: System
) -> tuple[tuple[Array, Tree], Tree, tuple[Array, ...]]:
    """Return the outer loss with its aux, its gradient by the theorem, and how far to trust that."""
    subset = _tree.held(_same, params, wrt)

    def of_active(active: Params, hyper: Tree) -> Array:
        return inner((subset.embed(active, _same), hyper))

    def judged(active: Params, hyper: Tree) -> tuple[Array, Tree]:
        return outer(subset.embed(active, _same), hyper)

    slope = implicit_slope(of_active, judged, subset.active, hyper, system)
    found = slope.solution
    told = found.residual_norm, found.products, found.converged, found.indefinite, slope.inner_gradient_norm
    return (slope.value, slope.aux), slope.gradient, told


def _forward(total: Callable[[Tree], tuple[Array, Any]], hyper: Tree) -> tuple[tuple[Array, Any], Tree]:
    """Return the value with its aux, and the gradient: one tangent for every number, pushed forward side by side."""
    leaves, structure = jax.tree.flatten(hyper)
    treedef: Any = structure
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))

    def along(index: Array) -> tuple[Array, Array, Any]:
        def unit(leaf: Array, end: int) -> Array:
            places = jnp.arange(end - leaf.size, end).reshape(leaf.shape)
            return _sharding.like((places == index).astype(leaf.dtype), leaf)

        tangent = treedef.unflatten([unit(leaf, end) for leaf, end in zip(leaves, ends, strict=True)])
        value, slope, after = jax.jvp(total, (hyper,), (tangent,), has_aux=True)
        return slope, value, after

    # what is not differentiated is the same for all of them, and computed once
    slopes, value, after = jax.vmap(along, out_axes=(0, None, None))(jnp.arange(ends[-1]))
    parts = jnp.split(slopes, ends[:-1])
    gradient = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    return (value, after), treedef.unflatten(gradient)


def refuse_without_theorem(optimizer: Any, per_step: bool) -> None:
    """Refuse what says nothing about a minimum.

    Raises:
        ValueError: If the optimizer is a function of the hyper-parameters, or the batch changes from step to step.
    """
    if callable(optimizer):
        message = (
            'method="implicit" cannot reach the hyper-parameters of the optimizer, which do not move the minimum that'
            ' it leads to; write method="unrolled", or "forward" for few of them, or hand in an optimizer that is no'
            " function of hyper"
        )
        raise ValueError(message)  # noqa: TRY004 (the type is right, the method is not)
    if per_step:
        message = (
            'method="implicit" needs one inner problem, and with per_step=True every step has its own; reach the'
            " minimum with meta.adapt(..., per_step=True), and hand in its result as params, the whole of the data as"
            ' inner_data, and num_steps=0; or write method="unrolled"'
        )
        raise ValueError(message)


def refuse_constant(
    inner: Callable[[Tree], Any],
    outer: Callable[[Params], Any],
    params: Params,
    hyper: Tree,
    *,
    in_optimizer: bool,
    by_value: bool = False,
) -> None:
    """Refuse losses whose hypergradient would be zero, or its direct part alone, and nobody would know.

    Args:
        inner: The inner loss as a function of the hyper-parameters.
        outer: The outer loss as a function of the parameters.
        params: The parameters.
        hyper: The hyper-parameters.
        in_optimizer: Whether the optimizer is a function of the hyper-parameters, and the inner loss need not be.
        by_value: Whether a loss may depend on them without a derivative, as one minus an accuracy does.

    Raises:
        ValueError: If the inner loss does not depend on the hyper-parameters, or the outer one not on the parameters.
    """
    if not in_optimizer and not depends(inner, hyper, by_value=by_value):
        message = (
            "inner_loss does not depend on hyper, its second argument, so that the inner minimum does not move with"
            " it; use it there, or, where it sets the optimizer, hand in optimizer as a function of hyper"
        )
        raise ValueError(message)
    if not depends(outer, params, by_value=by_value):
        message = (
            "outer_loss does not depend on params, its first argument, so that the inner problem does not matter:"
            " use it there, and not parameters that it closes over or stops the gradient of"
        )
        raise ValueError(message)

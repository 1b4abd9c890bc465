"""Several updates in a row, each from the gradient of a fresh forward."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._leaf_updates import Touches, start_updates
from jaxgrad.multi_loss._linearize import linearize
from jaxgrad.multi_loss._losses import L

__all__ = ["sequential_updates"]


@overload
def sequential_updates(
    losses_fn: Function[T, *Ts, L],
    params: T,
    states: Tree,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    touches: Touches = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Tree, L]: ...
@overload
def sequential_updates(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    states: Tree,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    touches: Touches = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[T, Tree, L], Aux]: ...
@jit("losses_fn", "optimizer", "touches", "has_aux", "wrt", "axis_name")
def sequential_updates(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    states: Tree,
    *data: *Ts,
    optimizer: optax.GradientTransformation,
    touches: Touches = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Update the parameters once for each loss, each gradient taken where the updates before have led.

    .. math:: \theta_k = \theta_{k-1} + u_k, \qquad
              (u_k, s_k) = \text{update}\big(\nabla L_k(\theta_{k-1}),\ s_{k-1},\ \theta_{k-1}\big),
              \qquad k = 1, \dots, K

    In numerical analysis this is the order of Gauss and Seidel. `simultaneous_updates` takes all gradients at the start
    instead, from one forward; it says when the two differ. Which leaves a loss touches is found as there.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        states: One optimizer state for each leaf, from `init_states`.
        *data: Pytrees handed on to ``losses_fn``, the same in every forward.
        optimizer: An optax transformation. Static, and told apart by identity: build it once, outside of loops. It
            sees one leaf at a time, so ``optax.clip_by_global_norm`` clips each leaf by itself.
        touches: Which leaves each loss moves, where its dependence is not what you want: one entry for each loss, in a
            tuple or list, or a dictionary with the keys of the losses. An entry is glob patterns, a predicate, or
            ``None`` for all, as ``wrt``.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others do not move, and neither do their states.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        The new parameters, the new states, and the losses, each where its gradient was taken, in the form that
        ``losses_fn`` returns. The updates are made in the order of the losses; for a dictionary in the order of its
        sorted keys. With ``has_aux``, ``((params, states, losses), aux)``: the aux of the first forward, at the
        ``params`` that were given, as in `simultaneous_updates`; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If ``states`` are not those of `init_states`, ``touches`` has not one entry for each loss, there is
            no loss, a loss is no scalar, a pattern selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``optimizer`` is no optax transformation, a loss is no real floating-point number, a leaf that
            counts is no real floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        ``K`` forwards and ``K`` backwards, each without the other losses, and an optimizer step for each.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def losses(params):
        ...     return params["trunk"] * params["a"], params["trunk"] * params["b"]
        >>> params = {"trunk": jnp.array(1.0), "a": jnp.array(2.0), "b": jnp.array(3.0)}
        >>> sgd = optax.sgd(0.1)
        >>> states = jaxgrad.multi_loss.init_states(sgd, params)
        >>> params, states, _ = jaxgrad.multi_loss.sequential_updates(losses, params, states, optimizer=sgd)
        >>> {name: round(leaf.item(), 4) for name, leaf in params.items()}
        {'a': 1.9, 'b': 2.92, 'trunk': 0.5}

    References:
        Bertsekas and Tsitsiklis (1989), Parallel and Distributed Computation, section 3.2 (the Gauss-Seidel and the
        Jacobi order);
        Kingma and Ba (2015), Adam, ICLR, algorithm 1.
    """
    params, states = _sharding.replicated((params, states), axis_name)
    subset = _tree.held(losses_fn, params, wrt)
    _check.differentiable(params=subset.active)
    updates = start_updates(optimizer, params, states, wrt)
    start = here = linearize(subset.fun, subset.active, *data, axis_name=axis_name, has_aux=has_aux)
    values = [start.loss(0)]
    for k in range(start.count):
        if k > 0:
            here = linearize(subset.fun, subset.pick(updates.params), *data, axis_name=axis_name, has_aux=has_aux)
            values.append(here.loss(k))
        updates = updates.take(here.row(k), updates.touched_by(k, here, touches))
    stacked = _losses.is_array(start.losses)
    losses = jnp.stack(values) if stacked else jax.tree.unflatten(jax.tree.structure(start.losses), values)
    result = updates.params, updates.states, losses
    return (result, start.aux) if has_aux else result

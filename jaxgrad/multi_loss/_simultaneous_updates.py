"""Several updates in a row, all from the gradients of one forward."""

from __future__ import annotations

from typing import Any, Literal, overload

import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.multi_loss._leaf_updates import Touches, start_updates
from jaxgrad.multi_loss._linearize import linearize
from jaxgrad.multi_loss._losses import L

__all__ = ["simultaneous_updates"]


@overload
def simultaneous_updates(
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
def simultaneous_updates(
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
def simultaneous_updates(
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
    r"""Update the parameters once for each loss, all gradients taken at the start.

    .. math:: \theta_k = \theta_{k-1} + u_k, \qquad
              (u_k, s_k) = \text{update}\big(\nabla L_k(\theta_0),\ s_{k-1},\ \theta_{k-1}\big), \qquad k = 1, \dots, K

    This is what several ``backward(retain_graph=True)`` with an optimizer step after each would give if PyTorch
    allowed it: the second step uses the gradient of the first forward. In numerical analysis it is the order of Jacobi,
    and in games simultaneous gradient descent. `sequential_updates` takes each gradient where the updates before have
    led. The two differ as soon as an update moves a leaf on which a later loss's gradient depends; they agree where the
    losses share no leaf, and for small steps the difference is of the order of the step. This one costs a single
    forward; with plain SGD it does not depend on the order of the losses.

    A leaf that a loss does not touch does not move in its step, and neither does its optimizer state: each leaf counts
    its own steps, as in PyTorch. A loss touches the leaves that its derivative reads, found from the program and not
    from numbers: not through ``stop_gradient``, and for an array of losses that is no stack of scalars all leaves that
    the array depends on.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        states: One optimizer state for each leaf, from `init_states`.
        *data: Pytrees handed on to ``losses_fn``.
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
        The new parameters, the new states, and the losses at the start, as ``losses_fn`` returned them. The updates are
        made in the order of the losses; for a dictionary in the order of its sorted keys. With ``has_aux``, ``((params,
        states, losses), aux)``: the aux of the one forward, at the start; inside of `jax.shard_map` it is the device's
        own, with ``axis_name`` too.

    Raises:
        ValueError: If ``states`` are not those of `init_states`, ``touches`` has not one entry for each loss, there is
            no loss, a loss is no scalar, a pattern selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``optimizer`` is no optax transformation, a loss is no real floating-point number, a leaf that
            counts is no real floating-point array, or ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward, ``K`` backwards, and an optimizer step for each.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def losses(params):
        ...     return params["trunk"] * params["a"], params["trunk"] * params["b"]
        >>> params = {"trunk": jnp.array(1.0), "a": jnp.array(2.0), "b": jnp.array(3.0)}
        >>> sgd = optax.sgd(0.1)
        >>> states = jaxgrad.multi_loss.init_states(sgd, params)
        >>> params, states, _ = jaxgrad.multi_loss.simultaneous_updates(losses, params, states, optimizer=sgd)
        >>> {name: round(leaf.item(), 4) for name, leaf in params.items()}
        {'a': 1.9, 'b': 2.9, 'trunk': 0.5}

    References:
        Paszke et al. (2019), PyTorch, NeurIPS (``backward(retain_graph=True)``);
        Kingma and Ba (2015), Adam, ICLR, algorithm 1.
    """
    params, states = _sharding.replicated((params, states), axis_name)
    subset = _tree.held(losses_fn, params, wrt)
    _check.differentiable(params=subset.active)
    updates = start_updates(optimizer, params, states, wrt)
    start = linearize(subset.fun, subset.active, *data, axis_name=axis_name, has_aux=has_aux)
    for k in range(start.count):
        updates = updates.take(start.row(k), updates.touched_by(k, start, touches))
    result = updates.params, updates.states, start.losses
    return (result, start.aux) if has_aux else result

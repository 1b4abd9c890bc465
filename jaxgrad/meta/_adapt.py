"""A few optimizer steps on one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, NamedTuple, overload

import optax

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import descend, first_failure
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._statistics import Statistics

__all__ = ["Adapted", "adapt"]

STATIC = ("memory", "per_step", "statistics", "axis_name")


class Adapted(NamedTuple):
    """What `adapt` returns with ``full_output=True``."""

    params: Params
    """The adapted parameters."""
    opt_state: Any
    """The optimizer's state after the last step: hand it on as ``opt_state`` to go on from there."""
    losses: Array
    """Of shape ``(num_steps,)``: the loss at the parameters from which each step starts."""
    diverged_at: Array
    """The first step that starts from a loss which is infinite or NaN, an integer; ``num_steps`` where only the
    parameters after the last step are; -1 where nothing is."""
    state: Tree
    """The model's state after the last step; ``None`` where the loss has none."""
    aux: Tree
    """What the loss returned beside its value, steps along a leading axis; ``None`` where it returns nothing."""


@overload
def adapt(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    memory: Memory = "checkpoint",
    per_step: bool = False,
    learning_rates: Tree = None,
    opt_state: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def adapt(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    memory: Memory = "checkpoint",
    per_step: bool = False,
    learning_rates: Tree = None,
    opt_state: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def adapt(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    memory: Memory = "checkpoint",
    per_step: bool = False,
    learning_rates: Tree = None,
    opt_state: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Adapted: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "full_output", "wrt", *STATIC)
def adapt(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    memory: Memory = "checkpoint",
    per_step: bool = False,
    learning_rates: Tree = None,
    opt_state: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Take a few optimizer steps on the support loss of ONE task.

    .. math:: \theta_{k+1} = \theta_k + u_k, \qquad (u_k, s_{k+1}) = \text{update}(\nabla L(\theta_k), s_k, \theta_k)

    The steps are one ``lax.scan``, so the program does not grow with their number. The result is differentiable, to
    any order, in ``params``, in ``support``, and in whatever the optimizer closes over: an optimizer that is built
    inside the function that you differentiate, ``optax.sgd(rate)``, passes gradients to ``rate``. Roots and quotients
    inside the optimizer that meet an exact zero have the derivative 0 there, so that Adam does not give NaN for a
    weight whose gradient is zero.

    Args:
        loss_fn: ``loss_fn(params, *support) -> ()`` where ``support`` is a plain tuple, ``loss_fn(params, support)``
            where it is any other pytree. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where the steps start.
        support: The data of one task.
        optimizer: An optax transformation; it gets ``value``, ``grad``, ``value_fn``, ``obj_fn`` and ``grad_fn`` if it
            asks for them. Its steps on 16-bit leaves are computed in float32 and rounded once, and its fresh state
            stays in float32. Static: two that are built alike, ``optax.sgd(0.1)`` twice, share a program, but one that
            closes over an array or a mapping is known by identity, so build it once, outside of loops.
        num_steps: How many steps, a Python integer; 0 returns ``params``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return an `Adapted`: the optimizer's state, the losses and the rest too.
        wrt: Which leaves move: glob patterns on their paths (``"head"``, ``"*/kernel"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The optimizer then sees a list of these leaves alone.
        memory: What is kept of the steps where the result is differentiated in reverse, as in
            `value_and_maml_gradient`: ``"unrolled"``, ``"checkpoint"``, ``"nested"``, ``"mixed-mode"``, or ``None`` for
            the rule there. ``"checkpoint"`` and ``"unrolled"`` can be differentiated forward too.
        per_step: Whether every leaf of ``support`` has a leading axis of steps: each step has data of its own.
        learning_rates: Tree like ``params``: factors of the optimizer's updates, each broadcast against
            ``(num_steps, *leaf.shape)``; ``None``: 1.
        opt_state: The optimizer's state to go on from, which the result can be differentiated by: with
            `optax.inject_hyperparams` it holds the hyper-parameters. It keeps its dtypes. ``None``: a fresh one.
        state: The model's state beside its parameters; the loss is then ``loss_fn(params, state, *support, train=...)
            -> (loss, state)``, with ``has_aux`` ``(loss, (state, aux))``.
        statistics: ``"frozen"``: ``train=False``, and the given state at every step. ``"transductive"``: ``train=True``
            and the given state at every step. ``"carried"``: ``train=True``, each step with the state that the last
            one left.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss, of every step, is the mean of
            the devices' losses; ``None``: it is the device's own.

    Returns:
        The adapted parameters, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(adapted,
        aux)``: the aux of every step's loss, at the parameters from which the step starts, along a leading axis of
        length ``num_steps``. With ``full_output``, an `Adapted`. Inside of `jax.shard_map` the aux is the device's own,
        with ``axis_name`` too.

    Raises:
        ValueError: If ``num_steps`` is negative, the loss is no scalar or does not depend on ``params``, or on a leaf
            that ``wrt`` selects, ``wrt`` selects nothing, ``axis_name`` is no axis around, or ``optimizer`` needs
            something else, or returns updates unlike ``params``.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that moves is
            no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps`` gradients. Differentiated: about 4 gradients a step (FLOPs), 3.6 with
        ``memory=None``, and the memory of one step's
        intermediate values plus ``num_steps`` copies of the weights and of the optimizer's state.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, x, y):
        ...     return 0.5 * jnp.sum((params["w"] * x - y) ** 2)
        >>> params, task = {"w": jnp.array(0.0)}, (jnp.ones(2), jnp.ones(2))
        >>> jaxgrad.meta.adapt(loss, params, task, optimizer=optax.sgd(0.25), num_steps=2)["w"].item()
        0.75

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, equation 1.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "wrt": wrt, "axis_name": axis_name}
    options |= {"memory": memory, "per_step": per_step, "learning_rates": learning_rates, "opt_state": opt_state}
    after = descend(loss_fn, params, support, has_aux=has_aux, state=state, statistics=statistics, **options)
    if full_output:
        first = first_failure(after, params)
        return Adapted(after.params, after.opt_state, after.losses, first, after.state, after.aux)
    return (after.params, after.aux) if has_aux else after.params

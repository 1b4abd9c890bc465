"""The gradient at the adapted parameters: MAML without its second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import jax
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import descend
from jaxgrad.meta._engine._objective import refuse_constant
from jaxgrad.meta._engine._statistics import Statistics, of_state
from jaxgrad.meta._engine._tasks import arguments, check_tasks, mean_of_each, of_one_task
from jaxgrad.meta._engine._told import MetaGradient, reported, told

__all__ = ["first_order_gradient", "value_and_first_order_gradient"]

STATIC = ("chunk", "per_step", "statistics", "axis_name")


@overload
def value_and_first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "wrt", "inner_wrt", *STATIC)
def value_and_first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the meta-loss and the mean over tasks of the gradient AT the adapted parameters.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \nabla L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t)

    First-order MAML: the inner steps count as constants, so this is no gradient of the meta-loss, and much cheaper
    than `value_and_maml_gradient`. The optimizer need not be differentiable.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`. Static.
        num_steps: How many inner steps, a Python integer; with 0 this is the plain gradient on ``query``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has data of its own.
        learning_rates: Tree like ``params``: factors of the optimizer's updates, each broadcast against
            ``(num_steps, *leaf.shape)``, such as those that `meta_sgd_gradient` learns; ``None``: 1.
        state: The model's state beside its parameters, which the loss then takes and returns, as in `maml_gradient`.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state, as in
            `value_and_maml_gradient`.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The meta-loss, and the first-order gradient with the structure, shapes and dtypes of ``params``. With
        ``has_aux``, ``((value, aux), gradient)``: the aux of the query loss at the adapted parameters, tasks along its
        leading axis; that of the inner steps is dropped. Inside of `jax.shard_map` it is that of the device's own
        tasks, with ``axis_name`` too.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, a leaf has other axes in support than
            in query, ``num_steps`` is negative, the loss is no scalar or does not depend on the parameters, or on a
            leaf that ``inner_wrt`` selects, ``wrt`` or ``inner_wrt`` selects nothing, ``learning_rates`` do not fit, or
            ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that counts
            is no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``1 + num_steps`` gradients, all tasks at once; the memory of one gradient for every task.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> value, gradient = jaxgrad.meta.value_and_first_order_gradient(
        ...     loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1
        ... )
        >>> value.item(), gradient["w"].item()
        (0.625, -1.0)

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, section 5.2.
        Nichol, Achiam and Schulman (2018), On first-order meta-learning algorithms.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "learning_rates": learning_rates, "state": state, "statistics": statistics}
    (value, aux, _), gradient = _at_adapted(loss_fn, params, support, query, **options, **which, **how)
    return (value, aux) if has_aux else value, gradient


@overload
def first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> MetaGradient[T]: ...
@overload
def first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[MetaGradient[T], Aux]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "full_output", "wrt", "inner_wrt", *STATIC)
def first_order_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the mean over tasks of the gradient AT the adapted parameters: first-order MAML.

    The second value of `value_and_first_order_gradient`, which explains the arguments at length.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of one task, for both levels. Static. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps. Static.
        num_steps: How many inner steps, a Python integer.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return a `MetaGradient`: the value, the inner losses, and where a task diverged.
        wrt: Which leaves the gradient is taken with respect to; zero on the others.
        inner_wrt: Which leaves the inner steps move.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has data of its own.
        learning_rates: Tree like ``params``: factors of the updates; ``None``: 1.
        state: The model's state beside its parameters, which the loss then takes and returns, as in `maml_gradient`.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state, as in
            `value_and_maml_gradient`.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The first-order gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient,
        aux)``: the aux of the query loss at the adapted parameters, tasks along its leading axis, as in
        `value_and_first_order_gradient`. With ``full_output``, a `MetaGradient` in place of the gradient.

    Raises:
        ValueError: As `value_and_first_order_gradient`.
        TypeError: As `value_and_first_order_gradient`.

    Cost:
        As `value_and_first_order_gradient`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> inner = {"optimizer": optax.sgd(0.5), "num_steps": 1}
        >>> jaxgrad.meta.first_order_gradient(loss, params, targets, targets, **inner)["w"].item()
        -1.0
        >>> def loss_and_weight(params, target):
        ...     return loss(params, target), params["w"]
        >>> _, adapted = jaxgrad.meta.first_order_gradient(
        ...     loss_and_weight, params, targets, targets, has_aux=True, **inner
        ... )
        >>> adapted.tolist()
        [0.5, 1.5]

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, section 5.2.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "learning_rates": learning_rates, "state": state, "statistics": statistics}
    how["full_output"] = full_output
    (value, aux, told_of), gradient = _at_adapted(loss_fn, params, support, query, **options, **which, **how)
    return reported(gradient, value, aux, told_of, has_aux=has_aux)


def _at_adapted(
    loss_fn: Callable[..., Any],
    params: Params,
    support: Tree,
    query: Tree,
    *,
    has_aux: bool,
    wrt: Wrt,
    inner_wrt: Wrt,
    chunk: int | None,
    state: Tree,
    statistics: Statistics,
    axis_name: AxisName,
    full_output: bool = False,
    **inner: Any,
) -> tuple[tuple[Array, Tree, Any], Params]:
    """Return the meta-loss, with what stands beside it, and the gradient; ``inner`` are options of `descend`."""
    loss_fn = of_one_task(loss_fn)
    check_tasks(support, query, per_step=inner["per_step"])
    params = _sharding.replicated(params, axis_name)
    inner |= {"wrt": inner_wrt, "state": state, "statistics": statistics, "has_aux": has_aux, "memory": "unrolled"}
    judge = of_state(loss_fn, state is not None, statistics == "transductive", has_aux)
    subset = _tree.held(judge, params, wrt, has_aux=True)
    _check.differentiable(params=subset.active)
    refuse_constant(judge, params, state, query, inner_wrt if inner["num_steps"] else None)

    def at_adapted(support: Tree, query: Tree) -> tuple[Any, Tree]:
        after = descend(loss_fn, params, support, **inner)
        data = after.state, *arguments(query)
        ahead = _tree.restrict(judge, after.params, wrt, data, None, has_aux=True)
        (value, (aux, _)), gradient = jax.value_and_grad(ahead.pair, has_aux=True)(ahead.active, *data)
        return (value, gradient), (aux, told(after, params) if full_output else None)

    mean, beside = mean_of_each(at_adapted, (support, query), chunk)
    value, gradient = _sharding.mean_over(mean, axis_name)
    return (value, *beside), subset.embed(gradient)

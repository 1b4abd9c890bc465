"""Meta-SGD: the gradient of the loss after adaptation, by where it starts and by the learning rates of its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import optax
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, T, Tree, Wrt, X
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._objective import STATIC, through_steps
from jaxgrad.meta._engine._statistics import Statistics
from jaxgrad.meta._engine._told import MetaGradient, reported

__all__ = ["meta_sgd_gradient", "value_and_meta_sgd_gradient"]

DESCENT = optax.sgd(1.0)
"""What the learning rates are factors of where no optimizer is given: minus the gradient."""


@overload
def value_and_meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[Array, tuple[T, X]]: ...
@overload
def value_and_meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], tuple[T, X]]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "wrt", "inner_wrt", *STATIC)
def value_and_meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the meta-loss, its gradient, and that by the learning rates, through every inner step.

    .. math:: M(\theta, \alpha) = \frac{1}{T} \sum_{t=1}^{T} L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_{k+1}^{(t)} = \theta_k^{(t)} + \alpha_k \circ u_k^{(t)}, \qquad
              (\nabla_\theta M, \nabla_\alpha M)

    with :math:`u_k` the optimizer's update, minus the gradient where none is given. Both gradients come out of one
    backward pass. A rate for every entry is Meta-SGD; one for every leaf and step, of shape ``(num_steps, 1, ..., 1)``,
    is that of MAML++.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        learning_rates: Tree like ``params``: factors of the optimizer's updates, each broadcast against
            ``(num_steps, *leaf.shape)``: a number for a leaf, one for every entry, or with one axis more one for every
            step. They may be negative.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation, whose updates are multiplied by the rates; ``optax.adam(1.0)`` for learned
            rates of Adam. ``None``: ``optax.sgd(1.0)``, so that the rates are those of gradient descent. Static.
        num_steps: How many inner steps, a Python integer.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves of ``params`` the first gradient is taken with respect to: glob patterns on their paths, a
            predicate ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise; the rates of the others have the gradient zero.
        memory: What is kept of the inner steps, as in `value_and_maml_gradient`.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has data of its own.
        step_weights: Of shape ``(num_steps,)``: the meta-loss of a task is then the sum over the steps of its weight
            times the loss of the query after this step; ``None``: the last step's alone.
        second_order: A factor of the second derivatives of the inner loss, traced; at 0 the gradient by the rates is
            the first-order one; ``None``: 1.
        state: The model's state beside its parameters, which the loss then takes and returns, as in
            `value_and_maml_gradient`.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The meta-loss, and the pair of its gradient, with the structure, shapes and dtypes of ``params``, and of that by
        the learning rates, with those of ``learning_rates``. With ``has_aux``, ``((value, aux), gradients)``: the aux
        of the query loss at the adapted parameters, tasks along its leading axis.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, a leaf has other axes in support than
            in query, ``num_steps`` is negative, the loss is no scalar or does not depend on the parameters, or on a
            leaf that ``inner_wrt`` selects, ``wrt`` or ``inner_wrt`` selects nothing, ``learning_rates``
            or ``step_weights`` do not fit, ``memory="mixed-mode"`` meets a loss that it would be wrong for, a step
            holds a while loop (a line search), or ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that counts
            is no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        As `value_and_maml_gradient`, and one product a step and entry: about ``1 + 3.7 num_steps`` gradients (FLOPs).
        Memory: the updates of all steps too, as the rates are differentiated by.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, rates, targets = {"w": jnp.array(0.0)}, {"w": jnp.array(0.5)}, jnp.array([1.0, 3.0])
        >>> value, (gradient, by_rates) = jaxgrad.meta.value_and_meta_sgd_gradient(
        ...     loss, params, rates, targets, targets, num_steps=1
        ... )
        >>> value.item(), gradient["w"].item(), by_rates["w"].item()
        (0.625, -0.5, -2.5)

    References:
        Li, Zhou, Chen and Li (2017), Meta-SGD: learning to learn quickly for few-shot learning, equation 5.
        Antoniou, Edwards and Storkey (2019), How to train your MAML, ICLR: rates of a layer and a step.
    """
    rule = DESCENT if optimizer is None else optimizer
    options: Any = {"optimizer": rule, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "memory": memory, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "step_weights": step_weights, "second_order": second_order}
    how |= {"state": state, "statistics": statistics}
    options |= which | how | {"learning_rates": learning_rates, "by_rates": True}
    (value, aux, _), gradients = through_steps(loss_fn, params, support, query, **options)
    return (value, aux) if has_aux else value, gradients


@overload
def meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, X]: ...
@overload
def meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[tuple[T, X], Aux]: ...
@overload
def meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> MetaGradient[tuple[T, X]]: ...
@overload
def meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: Literal[True],
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[MetaGradient[tuple[T, X]], Aux]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "full_output", "wrt", "inner_wrt", *STATIC)
def meta_sgd_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    learning_rates: X,
    support: Tree,
    query: Tree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the gradient of the meta-loss, and that by the learning rates, through every inner step.

    The second value of `value_and_meta_sgd_gradient`, which explains the arguments at length.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of one task, for both levels. Static. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        learning_rates: Tree like ``params``: factors of the optimizer's updates, each broadcast against
            ``(num_steps, *leaf.shape)``.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation, whose updates are multiplied by the rates; ``None``: gradient descent with
            these rates. Static.
        num_steps: How many inner steps, a Python integer.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return a `MetaGradient`: the value, the inner losses, and where a task diverged.
        wrt: Which leaves of ``params`` the first gradient is taken with respect to; zero on the others.
        inner_wrt: Which leaves the inner steps move.
        memory: What is kept of the inner steps: a mode, or ``None``.
        chunk: How many tasks at a time; ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps.
        step_weights: Of shape ``(num_steps,)``: weights of the query's loss after each step; ``None``: the last alone.
        second_order: A factor of the second derivatives; ``None``: 1.
        state: The model's state beside its parameters, which the loss then takes and returns.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The pair of the gradient, with the structure, shapes and dtypes of ``params``, and of that by the learning
        rates, with those of ``learning_rates``. With ``has_aux``, ``(gradients, aux)``, as in
        `value_and_meta_sgd_gradient`. With ``full_output``, a `MetaGradient` in place of the pair.

    Raises:
        ValueError: As `value_and_meta_sgd_gradient`.
        TypeError: As `value_and_meta_sgd_gradient`.

    Cost:
        As `value_and_meta_sgd_gradient`.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * jnp.sum((params["w"] - target) ** 2)
        >>> params, targets = {"w": jnp.zeros(2)}, jnp.array([[1.0, 3.0]])
        >>> rates = jax.tree.map(lambda leaf: jnp.full((2, *[1] * leaf.ndim), 0.5), params)  # of a leaf and a step
        >>> gradient, by_rates = jaxgrad.meta.meta_sgd_gradient(
        ...     loss, params, rates, targets, targets, num_steps=2
        ... )
        >>> gradient["w"].tolist(), by_rates["w"].tolist()
        ([-0.0625, -0.1875], [[-1.25], [-1.25]])

    References:
        Li, Zhou, Chen and Li (2017), Meta-SGD: learning to learn quickly for few-shot learning, equation 5.
    """
    rule = DESCENT if optimizer is None else optimizer
    options: Any = {"optimizer": rule, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "memory": memory, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "step_weights": step_weights, "second_order": second_order}
    how |= {"state": state, "statistics": statistics, "full_output": full_output}
    options |= which | how | {"learning_rates": learning_rates, "by_rates": True}
    (value, aux, told), gradients = through_steps(loss_fn, params, support, query, **options)
    return reported(gradients, value, aux, told, has_aux=has_aux)

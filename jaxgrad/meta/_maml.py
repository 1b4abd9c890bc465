"""The gradient of the loss after adaptation, through the adaptation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, overload

import optax
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, T, Tree, Wrt
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._objective import STATIC, through_steps
from jaxgrad.meta._engine._statistics import Statistics
from jaxgrad.meta._engine._told import MetaGradient, reported

__all__ = ["maml_gradient", "value_and_maml_gradient"]


@overload
def value_and_maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[Array, T]: ...
@overload
def value_and_maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[tuple[Array, Aux], T]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "wrt", "inner_wrt", *STATIC)
def value_and_maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the meta-loss and its gradient, differentiated through every inner step.

    .. math:: M(\theta) = \frac{1}{T} \sum_{t=1}^{T} L(\theta_K^{(t)};\, \text{query}_t), \qquad
              \theta_K^{(t)} = \text{adapt}(\theta;\, \text{support}_t), \qquad \nabla_\theta M

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts.
        support: What the tasks adapt to; tasks along the leading axis of every leaf. Where support and query both lack
            that axis, and the loss can do with one example, every example counts as a task: nothing tells them apart.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        optimizer: An optax transformation for the inner steps, as in `adapt`. Static.
        num_steps: How many inner steps, a Python integer; with 0 this is the plain gradient on ``query``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise: ``inner_wrt="head"`` is ANIL.
        memory: What is kept of the inner steps; every mode gives the same number. ``"unrolled"``: all intermediate
            values. ``"checkpoint"``: weights and optimizer's state of each step, the rest computed again.
            ``"mixed-mode"``: these and the inner gradients; Hessian products by forward over reverse mode, the fewest
            bytes to move. ``"nested"``: those of about ``2 sqrt(num_steps)`` steps, at one more gradient a step.
            ``None``: mixed mode; nested where the kept steps of all tasks would take more than 1 GiB; without the
            symmetry that mixed mode needs (the loss has a rule of derivatives of its own) ``"checkpoint"``.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps: each step has data of its own.
        learning_rates: Tree like ``params``: factors of the optimizer's updates, each broadcast against
            ``(num_steps, *leaf.shape)``; ``None``: 1. `meta_sgd_gradient` differentiates by them too.
        step_weights: Of shape ``(num_steps,)``: the meta-loss of a task is then the sum over the steps of its weight
            times the loss of the query after this step (MAML++'s multi-step loss); ``None``: the last step's alone.
        second_order: A factor of the second derivatives of the inner loss, traced: 0 is first order, 1 the full
            gradient, and what lies between anneals from one to the other in one program; ``None``: 1.
        state: The model's state beside its parameters, such as running statistics; the loss is then
            ``loss_fn(params, state, *data, train=...) -> (loss, state)``, with ``has_aux`` ``(loss, (state, aux))``.
        statistics: ``"frozen"``: every pass with ``train=False`` and the given state. ``"transductive"``: every pass
            with ``train=True``, new states dropped: an example of the query depends on the others. ``"carried"``: the
            steps with ``train=True``, each taking the state that the last one left, and the query with ``train=False``
            and the last of them. No state goes from one task to another.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner steps are always those of one task, on its
            device.

    Returns:
        The meta-loss, and its gradient with the structure, shapes and dtypes of ``params``. With ``has_aux``,
        ``((value, aux), gradient)``: the aux of the query loss at the adapted parameters, tasks along its leading axis;
        that of the inner steps is dropped. Inside of `jax.shard_map` it is that of the device's own tasks, with
        ``axis_name`` too. `maml_gradient` with ``full_output=True`` has both, and the step at which a task diverged.

    Raises:
        ValueError: If the tasks do not share one leading axis or there are none, a leaf has other axes in support than
            in query, ``num_steps`` is negative, the loss is no scalar or does not depend on the parameters, or on a
            leaf that ``inner_wrt`` selects, ``wrt`` or ``inner_wrt`` selects nothing, ``learning_rates``
            or ``step_weights`` do not fit, ``memory="mixed-mode"`` meets a loss that it would be wrong for, a step
            holds a while loop (a line search), or ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` is no Python integer, ``optimizer`` is no optax transformation, a leaf that counts
            is no real floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        About ``1 + 3.7 num_steps`` gradients (FLOPs), all tasks at once; 4.7 a step with ``"nested"``, 4 with
        ``"checkpoint"``, 3 with ``"unrolled"``. Memory, for every task: the intermediate values of one step, and
        ``num_steps`` copies of the weights, and but for linear optimizers of their gradients and of the state.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> value, gradient = jaxgrad.meta.value_and_maml_gradient(
        ...     loss, params, targets, targets, optimizer=optax.sgd(0.5), num_steps=1
        ... )
        >>> value.item(), gradient["w"].item()
        (0.625, -0.5)

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, algorithm 1.
        Raghu et al. (2020), Rapid learning or feature reuse?, ICLR: ANIL.
        Antoniou, Edwards and Storkey (2019), How to train your MAML, ICLR: multi-step loss, annealing.
        Kemaev et al. (2025), Scalable meta-learning via mixed-mode differentiation, ICML.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "memory": memory, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "step_weights": step_weights, "second_order": second_order}
    how |= {"learning_rates": learning_rates, "state": state, "statistics": statistics}
    (value, aux, _), gradient = through_steps(loss_fn, params, support, query, **options, **which, **how)
    return (value, aux) if has_aux else value, gradient


@overload
def maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> MetaGradient[T]: ...
@overload
def maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> tuple[MetaGradient[T], Aux]: ...
@jit("loss_fn", "optimizer", "num_steps", "has_aux", "full_output", "wrt", "inner_wrt", *STATIC)
def maml_gradient(
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
    memory: Memory = None,
    chunk: int | None = None,
    per_step: bool = False,
    learning_rates: Tree = None,
    step_weights: ArrayLike | None = None,
    second_order: ArrayLike | None = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the gradient of the meta-loss, differentiated through every inner step.

    The second value of `value_and_maml_gradient`, which explains the arguments at length.

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
        memory: What is kept of the inner steps: a mode, or ``None``.
        chunk: How many tasks at a time; ``None``: all at once.
        per_step: Whether ``support`` has, after the axis of tasks, one of steps.
        learning_rates: Tree like ``params``: factors of the updates; ``None``: 1.
        step_weights: Of shape ``(num_steps,)``: weights of the query's loss after each step; ``None``: the last alone.
        second_order: A factor of the second derivatives; ``None``: 1.
        state: The model's state beside its parameters, which the loss then takes and returns.
        statistics: ``"frozen"``, ``"transductive"`` or ``"carried"``: what becomes of that state.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``. With ``has_aux``, ``(gradient, aux)``: the
        aux of the query loss at the adapted parameters, tasks along its leading axis, as in `value_and_maml_gradient`.
        With ``full_output``, a `MetaGradient` in place of the gradient: where the gradient is NaN because the steps of
        a task diverged, its ``diverged_at`` names task and step.

    Raises:
        ValueError: As `value_and_maml_gradient`.
        TypeError: As `value_and_maml_gradient`.

    Cost:
        As `value_and_maml_gradient`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> inner = {"optimizer": optax.sgd(0.5), "num_steps": 1}
        >>> jaxgrad.meta.maml_gradient(loss, params, targets, targets, **inner)["w"].item()
        -0.5
        >>> def loss_and_weight(params, target):
        ...     return loss(params, target), params["w"]
        >>> _, adapted = jaxgrad.meta.maml_gradient(
        ...     loss_and_weight, params, targets, targets, has_aux=True, **inner
        ... )
        >>> adapted.tolist()
        [0.5, 1.5]
        >>> def steep(params, scale):
        ...     return 0.5 * scale * params["w"] ** 2
        >>> one, scales = {"w": jnp.float32(1)}, jnp.array([1.0, 1e15], jnp.float32)
        >>> found = jaxgrad.meta.maml_gradient(
        ...     steep, one, scales, scales, optimizer=optax.sgd(0.5), num_steps=3, full_output=True
        ... )
        >>> found.diverged_at.tolist()  # one step of the second task leads to a loss that overflows
        [-1, 1]

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning, ICML, algorithm 1.
    """
    options: Any = {"optimizer": optimizer, "num_steps": num_steps, "has_aux": has_aux}
    which: Any = {"wrt": wrt, "inner_wrt": inner_wrt, "memory": memory, "chunk": chunk, "axis_name": axis_name}
    how: Any = {"per_step": per_step, "step_weights": step_weights, "second_order": second_order}
    how |= {"learning_rates": learning_rates, "state": state, "statistics": statistics, "full_output": full_output}
    (value, aux, told), gradient = through_steps(loss_fn, params, support, query, **options, **which, **how)
    return reported(gradient, value, aux, told, has_aux=has_aux)

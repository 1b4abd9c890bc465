"""The inner loop: a few optimizer steps on one task, written as one scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.meta._engine._dependence import refuse_unused
from jaxgrad.meta._engine._guard import guarded
from jaxgrad.meta._engine._inner import KEPT, Traced, line_of_doubt, mixed, reverse
from jaxgrad.meta._engine._memory import LIMIT, Memory, bytes_of, check_memory, loop
from jaxgrad.meta._engine._rates import Rates
from jaxgrad.meta._engine._rule import Rule, apply_updates
from jaxgrad.meta._engine._statistics import Statistics, check_statistics, of_state
from jaxgrad.meta._engine._tasks import arguments, refuse_list

__all__ = ["Descent", "descend", "first_failure", "first_of", "value_and_grad"]


class Descent(NamedTuple):
    """What a few steps leave behind."""

    params: Params
    """The parameters after the last step."""
    opt_state: Any
    """The optimizer's state after the last step."""
    state: Tree
    """The model's state (running statistics) after the last step; ``None`` where the loss has none."""
    losses: Array
    """Of shape ``(num_steps,)``: the loss that each step started from."""
    aux: Tree
    """What the loss returned beside it, steps along a leading axis; ``None`` where it returns nothing."""
    watched: Tree
    """What was watched after each step, along a leading axis."""


def descend(
    loss_fn: LossFn,
    params: Params,
    support: Tree,
    *,
    optimizer: Any,
    num_steps: int,
    wrt: Wrt = None,
    axis_name: AxisName = None,
    has_aux: bool = False,
    memory: Memory = "checkpoint",
    copies: int = 1,
    per_step: bool = False,
    learning_rates: Tree = None,
    second_order: Any = None,
    opt_state: Any = None,
    state: Tree = None,
    statistics: Statistics = "frozen",
    watch: Callable[[Params, Tree], Tree] | None = None,
) -> Descent:
    """Take some optimizer steps on the support loss; the loss is traced once, and the result is differentiable.

    Args:
        loss_fn: The loss of one task.
        params: Where the steps start.
        support: The data of the task.
        optimizer: An optax transformation.
        num_steps: How many steps.
        wrt: Which leaves move.
        axis_name: The axes of a `jax.shard_map` over which the loss is the mean of the devices' losses.
        has_aux: Whether the loss returns something beside its value.
        memory: What is kept of the steps for the way back.
        copies: How many tasks are adapted at a time: the steps of all of them are kept.
        per_step: Whether every leaf of ``support`` has a leading axis of steps, each with data of its own.
        learning_rates: Factors of the updates, to broadcast against ``(num_steps, *leaf.shape)``.
        second_order: A factor of the second derivatives; ``None`` is 1.
        opt_state: The optimizer's state before the first step; ``None``: a fresh one, in float32 at the least.
        state: The model's state; the loss then takes it after the parameters.
        statistics: What becomes of the model's state.
        watch: ``watch(params, state)``, evaluated after every step.

    Raises:
        ValueError: If the steps would not move what they are to move, or an argument does not fit.
    """
    data = arguments(support)
    steps = _check.count(num_steps, "num_steps", advice="0 leaves the parameters as they are")
    check_memory(memory)
    check_statistics(statistics, state)
    first = first_of(data, steps) if per_step else data
    refuse_list(loss_fn, params, first)
    rule = Rule(optimizer)
    whole = of_state(loss_fn, state is not None, statistics != "frozen", has_aux)
    subset = _tree.restrict(whole, params, wrt, (state, *first), axis_name, has_aux=True)
    _check.differentiable(params=subset.active)
    rates = Rates(learning_rates, params, subset.pick, steps)
    if opt_state is None:
        opt_state = guarded(rule.init, subset.active)
    else:
        rule.check_state(opt_state, subset.active)
    traced = Traced(subset.pair)
    if steps:
        refuse_unused(traced.program(subset.active, state, *first)[0], params, wrt)
    start = (subset.active, opt_state, state)
    inner, kept = _way_back(memory, traced, start, first, steps * copies)

    def move(gradient: Params, value: Any, carry: Any, factors: Any, data: Any) -> Any:
        active, before, now = carry

        def loss(active: Params) -> Any:
            return subset.fun(active, now, *data)

        slope = gradient if second_order is None else jax.tree.map(_of_order(second_order), gradient)
        updates, after = rule.update(slope, before, active, value=value, loss=loss)
        return apply_updates(active, rates.times(updates, factors)), after

    def step(carry: Any, row: Any) -> Any:
        active, _, now = carry
        own, factors = row
        task = own if per_step else data
        (value, (aux, later)), gradient = inner(traced, active, now, *task)
        if inner is mixed:
            value, gradient = checkpoint_name((value, gradient), KEPT)
        moved, after = guarded(move, gradient, value, carry, factors, task)
        later = later if statistics == "carried" else now
        beside = None if watch is None else watch(subset.embed(moved, lambda leaf: leaf), later)
        return (moved, after, later), (value, aux, beside)

    rows = data if per_step else None, rates.rows
    start = _sharding.settled(lambda carry: step(carry, first_of(rows, steps))[0], start)
    bare = inner is mixed and _keeps_little(lambda *given: guarded(move, *given), start, first_of(rows, steps), first)
    (active, after, later), results = loop(step, start, rows, steps, kept, bare=bare)
    return Descent(subset.embed(active, lambda leaf: leaf), after, later, *results)


def first_failure(after: Descent, start: Params) -> Array:
    """Return after how many steps the loss was infinite or NaN, or a parameter that was not before; -1 where none is.

    The losses are those that the steps start from: that nothing starts from the last parameters is no reason not to
    look at them.
    """
    ends = zip(jax.tree.leaves(after.params), jax.tree.leaves(start), strict=True)
    floats = [(end, first) for end, first in ends if jnp.issubdtype(jnp.result_type(end), jnp.floating)]
    last = [(jnp.isfinite(first) & ~jnp.isfinite(end)).any() for end, first in floats]
    failed = jnp.append(~jnp.isfinite(after.losses), jnp.stack(last).any())
    return jnp.where(failed.any(), jnp.argmax(failed), -1)


def first_of(rows: Tree, num_steps: int, name: str = "support (after that of the tasks)") -> Tree:
    """Return the data of the first step, or where there is no step what has its shape.

    Raises:
        ValueError: If a leaf has no leading axis of this length.
    """
    wrong = [_check.describe(leaf) for leaf in jax.tree.leaves(rows) if jnp.shape(leaf)[:1] != (num_steps,)]
    if wrong:
        message = (
            f"per_step=True needs a leading axis of num_steps={num_steps} on every leaf of {name}; got"
            f" {', '.join(wrong)}"
        )
        raise ValueError(message)
    return jax.tree.map(lambda leaf: leaf[0] if num_steps else jnp.zeros(leaf.shape[1:], leaf.dtype), rows)


def _keeps_little(move: Callable[..., Any], carry: Any, row: Any, task: Any) -> bool:
    """Say whether the way back through an optimizer's step needs less than half of a gradient's bytes.

    That of Adam needs the gradient and both moments, and these are best computed again from the carry and the
    gradient; that of gradient descent needs nothing, with momentum too.
    """
    active = carry[0]

    def pulled(active: Params) -> Any:
        def moved(active: Params, gradient: Params, state: Any) -> Any:
            value = jnp.zeros((), jnp.result_type(*jax.tree.leaves(active)))
            return move(gradient, value, (active, state, carry[2]), row[1], task)

        return jax.vjp(moved, active, active, carry[1])[1]

    return bytes_of(jax.eval_shape(pulled, active)) < bytes_of(active) / 2


def _of_order(weight: Any) -> Callable[[Array], Array]:
    """Return the identity, with its derivative times a weight."""

    def weighted(gradient: Array) -> Array:
        still = lax.stop_gradient(gradient)
        # the difference is zero, and leaves the value as it is; where it is not finite the step is not differentiable
        return still + jnp.asarray(weight, gradient.dtype) * (gradient - still)

    return weighted


def _way_back(memory: Memory, traced: Traced, start: Any, task: Any, stored: int) -> tuple[Any, Memory]:
    """Return the inner gradient and the loop of a mode; ``None`` takes mixed mode, nested where that holds too much.

    Raises:
        ValueError: If mixed mode is asked for, and the gradient of the loss may have no symmetric Jacobian.
    """
    if memory in ("unrolled", "checkpoint"):
        return reverse, memory
    active, _, now = start
    line = line_of_doubt(traced, active, now, *task)
    if memory == "mixed-mode" and line is not None:
        message = (
            "memory='mixed-mode' takes the Hessian of the inner loss as symmetric, which it need not be where a"
            f" function has a rule of derivatives of its own: {line}; write memory='checkpoint', or leave it out"
        )
        raise ValueError(message)
    inner = mixed if line is None else reverse
    if memory is None:
        held = (start, active) if line is None else start
        memory = "nested" if bytes_of(held) * stored > LIMIT else "mixed-mode" if line is None else "checkpoint"
    return inner, memory


def value_and_grad(pair: Callable[[Params], Any], params: Params) -> tuple[tuple[Array, Tree], Params]:
    """Return the value and the gradient of what follows inner steps; beside the value stands the second of the pair.

    Raises:
        ValueError: If the steps hold a loop of unknown length, which has no derivative in reverse.
    """
    try:
        return jax.value_and_grad(pair, has_aux=True)(params)
    except ValueError as error:
        if "everse-mode differentiation does not work" not in str(error):
            raise
        message = (
            "optimizer cannot be differentiated in reverse: a step, or the loss, holds a while loop of unknown length,"
            " such as a line search; write optax.lbfgs(learning_rate, linesearch=None) or another optimizer without"
            " one, a loop of fixed length in the loss, or take meta.first_order_gradient"
        )
        raise ValueError(message) from error

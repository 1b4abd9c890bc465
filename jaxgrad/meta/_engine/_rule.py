"""An optax transformation as the inner loop calls it: in float32 at the least, given all that one may ask for."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params
from jaxgrad.meta._engine._singular import undefined_where, undefined_where_not_finite

__all__ = ["Rule", "accepted", "apply_updates"]

INSTEAD = "write an optimizer that needs no more than the gradient of a batch, such as optax.adam(1e-3)"
"""What to do about an optimizer that the inner loop cannot serve."""


class Rule:
    """An optimizer, with 16-bit gradients, parameters and state in float32 while its step is computed.

    In float16 the ``eps=1e-8`` of Adam and its relatives is 0, and the square of a gradient below ``2.4e-4`` too: the
    step at a gradient of zero is 0 / 0. So a fresh state is that of the parameters in float32, and stays in float32; a
    state that is given keeps its dtypes, rounded after each step. The parameters are rounded once, after the update was
    added to them.
    """

    def __init__(self, optimizer: Any):
        """Keep a transformation, after refusing what is none."""
        self._rule = optax.with_extra_args_support(_check.optimizer(optimizer))

    def init(self, params: Params) -> Any:
        """Return the state before the first step."""
        return _told("init", lambda: self._rule.init(_tree.widened(params)))

    def check_state(self, state: Any, params: Params) -> None:
        """Refuse a state that another optimizer left.

        Raises:
            ValueError: If it has another structure than a fresh one.
        """
        own: Any = jax.tree.structure(jax.eval_shape(self.init, params))
        given: Any = jax.tree.structure(state)
        if own != given:
            message = f"opt_state is no state of this optimizer: a fresh one is {own}; got {given}"
            raise ValueError(message)

    def update(
        self, gradient: Params, state: Any, params: Params, *, value: Array, loss: Callable[[Params], Array]
    ) -> tuple[Params, Any]:
        """Return the updates, in float32 for leaves of 16 bits, and the state after the step.

        Args:
            gradient: The gradient of the loss.
            state: The state before the step.
            params: Where the step starts.
            value: The loss there.
            loss: The loss of this step's data: a line search, Sophia and SAM evaluate it, or its gradient, elsewhere.

        Raises:
            ValueError: If the optimizer needs something else, or returns updates of other shapes, or a state of another
                structure.
        """

        def narrow(wide: Params) -> Params:
            return jax.tree.map(lambda w, leaf: w.astype(jnp.result_type(leaf)), wide, params)

        def again(wide: Params, grad_fn: Any = None, obj_fn: Any = None) -> Array:
            # optax's line searches hand on whatever there is, by name, and refuse a function without these names
            del grad_fn, obj_fn
            return _tree.widened(loss(narrow(wide)))

        slope, before, at, value = _tree.widened((gradient, state, params, value))
        more: Any = {"value": value, "grad": slope, "value_fn": again, "obj_fn": again}
        more["grad_fn"] = lambda wide, *_: jax.grad(again)(wide)
        taken = accepted(self._rule.update, more)
        updates, after = _told("update", lambda: self._rule.update(slope, before, at, **taken))
        _check_updates(updates, params)
        _check_state(after, state)
        return updates, _like(after, state)


def apply_updates(params: Params, updates: Params) -> Params:
    """Add updates to parameters, and round once; where that overflows the derivative is NaN."""

    def one(leaf: Any, update: Any) -> Any:
        after = optax.apply_updates(leaf, undefined_where_not_finite(update))
        # in float16 a step may overflow whose update, in float32, does not
        if after.dtype == jnp.result_type(update):
            return after
        return undefined_where(after, (jnp.isfinite(leaf) & ~jnp.isfinite(after)).any())

    return jax.tree.map(one, params, updates)


def accepted(update: Callable[..., Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return what a function takes by name: optax's own take whatever comes, but for `optax.contrib.sam`."""
    known = inspect.signature(update).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
        return more
    return {parameter.name: more[parameter.name] for parameter in known if parameter.name in more}


def _told(what: str, call: Callable[[], Any]) -> Any:
    """Call a function of an optimizer, and say what it is given where it fails.

    Raises:
        ValueError: If it does.
    """
    try:
        return call()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        given = "init(params)" if what == "init" else "update(gradient, state, params, value=, grad=, value_fn=, ...)"
        # JAX's own go over several lines, which would part the last words from the first
        said = " ".join(str(error).split())
        message = f"optimizer fails in the inner loop, which calls {given}, all like params: {said}; {INSTEAD}"
        raise ValueError(message) from error


def _check_updates(updates: Params, params: Params) -> None:
    """Refuse updates that would be broadcast, as those that are a mean over per-example gradients.

    Raises:
        ValueError: With every leaf that does not fit.
    """
    found, wanted = jtu.tree_leaves_with_path(updates), jtu.tree_leaves_with_path(params)
    lines = [
        f"{jtu.keystr(path) or 'it'} is {_check.describe(update)} for {_check.describe(leaf)}"
        for (path, update), (_, leaf) in zip(found, wanted, strict=False)
        if jnp.shape(update) != jnp.shape(leaf)
    ]
    structure: Any = jax.tree.structure(updates)
    if lines or structure != jax.tree.structure(params):
        message = (
            "optimizer must return updates with the structure and shapes of params; got"
            f" {', '.join(lines) or structure}. One that clips per-example gradients takes their"
            f" stack, which the inner loop does not have; {INSTEAD}"
        )
        raise ValueError(message)


def _check_state(after: Any, before: Any) -> None:
    """Refuse a state that a step changes in kind: a loop over the steps, traced once, has no place for it.

    Raises:
        ValueError: If the structure changes, or with every leaf of another shape.
    """
    new, old = (dict(jtu.tree_leaves_with_path(state)) for state in (after, before))
    lines = [
        f"{_check.locate('state', path)} is {_said(new, path)} after a step, {_said(old, path)} before it"
        for path in {**old, **new}
        if path not in old or path not in new or jnp.shape(new[path]) != jnp.shape(old[path])
    ]
    was: Any = jax.tree.structure(before)
    now: Any = jax.tree.structure(after)
    if lines or was != now:
        message = (
            "optimizer must keep the structure and the shapes of its state, for which optax.monitor makes no place: got"
            f" {', '.join(lines) or f'{now} after a step, {was} before it'}; write an optimizer whose init returns all"
            " that its update does, as optax.snapshot for measurements"
        )
        raise ValueError(message)


def _said(leaves: dict[Any, Any], path: Any) -> str:
    return _check.describe(leaves[path]) if path in leaves else "not there"


def _like(after: Any, before: Any) -> Any:
    """Return a state with the precision of the one before it."""

    def cast(new: Any, old: Any) -> Any:
        floats = all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in (new, old))
        return jnp.asarray(new, jnp.result_type(old)) if floats else new

    return jax.tree.map(cast, after, before)

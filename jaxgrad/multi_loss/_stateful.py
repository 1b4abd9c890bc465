"""Rules with a state, as pairs of functions in optax's style, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._engine._gram import checked
from jaxgrad.multi_loss._vector import vector

__all__ = [
    "FACTORIES",
    "Scalarizer",
    "Weighting",
    "WeightingOfRows",
    "given",
    "gram_of",
    "learned",
    "makes",
    "of_logarithms",
    "of_two_batches",
    "or_nan",
    "project",
    "start",
    "unless_sick",
]


class Scalarizer(NamedTuple):
    """A pair of functions that joins several losses into one, and learns how from step to step."""

    init: Callable[[int], Any]
    """``init(num_losses) -> state``, a pytree of arrays."""
    update: Callable[..., tuple[Array, Any]]
    """``update(losses, state) -> (value, state)``: the joined loss, to be differentiated, and the next state.

    Call it inside of the loss, and hand out the state as its aux. A loss that is not finite shows in the value, and
    leaves the state as it was.
    """


class Weighting(NamedTuple):
    """A pair of functions that weighs the gradients of several losses, and learns how from step to step."""

    init: Callable[..., Any]
    """``init(num_losses) -> state``, a pytree of arrays."""
    update: Callable[..., tuple[Array, Any]]
    """``update(gram, state) -> (weights, state)``: the weights, of shape ``(K,)``, and the next state.

    A matrix that is not finite gives weights that are NaN, and leaves the state as it was.
    """


class WeightingOfRows(Weighting):
    """A weighting whose ``update`` takes the rows, since their inner products do not say what it asks."""

    __slots__ = ()


FACTORIES: list[tuple[Callable[..., Any], type]] = []
"""The functions of the family that make a rule with a state, and what each makes."""

F = TypeVar("F", bound=Callable[..., Any])


def makes(kind: type) -> Callable[[F], F]:
    """Note of a function what it makes, so that it can be told from a rule when somebody forgets to call it."""

    def note(factory: F) -> F:
        FACTORIES.append((factory, kind))
        return factory

    return note


def start(num_losses: int, value: float = 0.0) -> Array:
    """Return what a state starts with, one number for each loss, in JAX's default precision.

    Raises:
        ValueError: If there is no loss.
        TypeError: If their number is no Python integer.
    """
    return jnp.full(_check.count(num_losses, "num_losses", least=1), value)


def given(losses: Tree, like: Array, name: str = "losses") -> Array:
    """Return losses as one array, after refusing other than as many as a state is for.

    Raises:
        ValueError: If there are more or fewer, or a loss is no scalar.
        TypeError: If one is no real floating-point number.
    """
    values = vector(losses, name)
    if values.size != like.size:
        message = (
            f"{name} must be the {like.size} losses that the state was started for, by init({like.size}); got"
            f" {values.size}"
        )
        raise ValueError(message)
    return values


def learned(optimizer: Any, slope: Array, state: Any, values: Array) -> tuple[Array, Any]:
    """Return what an optimizer makes of some numbers and of its state; optax is written for JAX's usual promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, state = optimizer.update(slope, state, values)
        return optax.apply_updates(values, updates), state


def of_logarithms(optimizer: Any, joined: Callable[[Array, Array], Array], kind: Any) -> Scalarizer:
    """Return a scalarizer that learns a logarithm for each loss by the slope of the joined loss itself.

    Args:
        optimizer: The optax transformation that moves the logarithms.
        joined: ``joined(losses, logarithms) -> ()``.
        kind: The type of the state: the logarithms first, then the state of the optimizer.
    """
    _check.optimizer(optimizer)

    def init(num_losses: int) -> Any:
        return kind(start(num_losses), optimizer.init(start(num_losses)))

    def update(losses: Tree, state: Any) -> tuple[Array, Any]:
        _check.state(state, kind, "init(num_losses)")
        logs, before = state
        values = given(losses, logs)
        slope = jax.grad(joined, argnums=1)(values.astype(logs.dtype), logs)
        after = kind(*learned(optimizer, slope, before, logs))
        return joined(values, logs.astype(values.dtype)), unless_sick(values, after, state)

    return Scalarizer(init, update)


def gram_of(gram: Any, count: int) -> Array:
    """Return a checked Gram matrix, after refusing one of another number of losses than a state is for.

    Raises:
        TypeError: If it has no floating-point numbers.
        ValueError: If it is not that of ``count`` losses.
    """
    matrix = checked(gram)
    if len(matrix) != count:
        message = (
            f"gram must be that of the {count} losses that the state was started for, by init({count}); got"
            f" {_check.describe(matrix)}"
        )
        raise ValueError(message)
    return matrix


def unless_sick(seen: Array, state: Any, before: Any) -> Any:
    """Return the next state, or the one before where what was seen is not finite."""
    sound = jnp.all(jnp.isfinite(seen))
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), state, before)


def of_two_batches(products: Any, like: Array) -> Array:
    """Return the inner products of the gradients of two batches, a matrix that need not be symmetric.

    Raises:
        TypeError: If it is no array of real floating-point numbers.
        ValueError: If it is not square, or of another size than the state.
    """
    _check.floating(products=products)
    if jnp.shape(products) != 2 * like.shape:
        message = (
            f"products must be the inner products of the {like.size} losses' gradients of one batch with those of"
            f" another, of shape {2 * like.shape}, as the state was started by init({like.size}); got"
            f" {_check.describe(products)}"
        )
        raise ValueError(message)
    return jnp.asarray(products).astype(like.dtype)


def or_nan(seen: Array, weights: Array, like: Any) -> Array:
    """Return weights in the dtype of what they were made of, in float32 at the least; NaN where that is not finite."""
    sound = jnp.all(jnp.isfinite(seen))
    kept = _tree.accumulator(jnp.result_type(like))
    return jnp.where(sound, weights, jnp.full_like(weights, jnp.nan)).astype(kept)


def project(point: Array) -> Array:
    """Return the nearest point whose entries are not negative and sum to 1 (Held, Wolfe and Crowder, 1974)."""
    falling = -jnp.sort(-point)
    # what all of the largest entries must give up, were they alone in the support
    surplus = (jnp.cumsum(falling) - 1) / jnp.arange(1, point.size + 1).astype(point.dtype)
    alone = jnp.sum(falling > surplus)
    return jnp.maximum(point - surplus[alone - 1], jnp.zeros_like(point))

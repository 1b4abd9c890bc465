"""What every script needs and none is about: a loss, a loop with Adam, and a look at what came out."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

__all__ = ["cross_entropy", "fit", "fit_with_stats", "judge", "show"]

T = TypeVar("T")
S = TypeVar("S")


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the loss of one example, or the mean loss of many."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def judge(logits: Array, labels: Array, *, at_least: float) -> tuple[Array, Array]:
    """Return the loss and the fraction of right answers, which must not be too small."""
    loss, right = _score(logits, labels)
    assert right >= at_least, f"{float(right):.1%} are right, and {at_least:.1%} were expected"
    return loss, right


@jax.jit
def _score(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the loss and the fraction of right answers."""
    return cross_entropy(logits, labels), jnp.mean(jnp.argmax(logits, axis=-1) == labels)


def fit(gradient_fn: Callable[..., T], params: T, batches: Iterable[tuple[Any, ...]]) -> T:
    """Train with Adam, by ``gradient_fn(params, *batch)``."""
    return fit_with_stats(lambda params, _, *batch: (gradient_fn(params, *batch), None), params, None, batches)[0]


def fit_with_stats(
    gradient_fn: Callable[..., tuple[T, S]], params: T, stats: S, batches: Iterable[tuple[Any, ...]]
) -> tuple[T, S]:
    """Train with Adam, by ``gradient_fn(params, stats, *batch)``, which returns new statistics too."""
    optimizer: Any = optax.adam(1e-2)

    @jax.jit
    def step(params: Any, stats: S, state: Any, batch: tuple[Any, ...]) -> Any:
        gradient, stats = gradient_fn(params, stats, *batch)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), stats, state

    state = optimizer.init(params)
    for batch in batches:
        params, stats, state = step(params, stats, state, batch)
    return params, stats


def show(*parts: Callable[[], Any]) -> None:
    """Run the parts of a script, or those that the command line names, and print what comes out."""
    for part in [part for part in parts if part.__name__ in (sys.argv[1:] or [part.__name__])]:
        numbers = ", ".join(f"{float(number):.4f}" for number in jax.tree.leaves(part()))
        print(f"{part.__name__}: {numbers}")

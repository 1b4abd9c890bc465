"""The data of the scripts: scikit-learn's digits, whole, in sampled batches, and as tasks; points in a square."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax import Array
from sklearn.datasets import load_digits

__all__ = ["batches", "digits", "points", "sampled_batches", "solution", "source", "tasks"]


def digits() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return 1,280 pictures of 8 x 8 pixels with their digits to train with, and 517 for a test."""
    pictures, labels = load_digits(return_X_y=True)
    for_training, for_test = (
        (jnp.asarray(pictures[part] / 16, dtype=float), jnp.asarray(labels[part]))
        for part in (slice(1280), slice(1280, None))
    )
    return for_training, for_test


def batches(x: Array, y: Array, *, size: int, steps: int) -> Iterator[tuple[Array, Array]]:
    """Draw batches of one size."""
    chance, pictures, labels = np.random.default_rng(0), np.asarray(x), np.asarray(y)
    for _ in range(steps):
        chosen = chance.choice(len(labels), size, replace=False)
        yield jnp.asarray(pictures[chosen]), jnp.asarray(labels[chosen])


def sampled_batches(x: Array, y: Array, *, rate: float, size: int, steps: int) -> Iterator[tuple[Array, Array, Array]]:
    """Take each example by chance, as private training wants it, and fill up to one size; the last array says where."""
    chance, pictures, labels = np.random.default_rng(0), np.asarray(x), np.asarray(y)
    for _ in range(steps):
        chosen = np.flatnonzero(chance.random(len(labels)) < rate)
        assert len(chosen) <= size, f"a batch of {len(chosen)} does not fit into {size}"
        filled = np.resize(chosen, size)
        is_padding = jnp.asarray(np.arange(size) >= len(chosen))
        yield jnp.asarray(pictures[filled]), jnp.asarray(labels[filled]), is_padding


def tasks(
    x: Array, y: Array, *, among: range, count: int, shots: int, steps: int
) -> Iterator[tuple[tuple[Array, Array], tuple[Array, Array]]]:
    """Draw tasks "this digit or that one?": a few pictures of both to learn from, as many to be judged on."""
    chance, pictures, labels = np.random.default_rng(0), np.asarray(x), np.asarray(y)
    answers = jnp.asarray(np.tile([0, 1], (count, shots)))
    for _ in range(steps):
        drawn = [
            np.stack([chance.choice(np.flatnonzero(labels == digit), 2 * shots, replace=False) for digit in pair], 1)
            for pair in (chance.choice(among, 2, replace=False) for _ in range(count))
        ]
        support, query = (jnp.asarray(pictures[half.reshape(count, -1)]) for half in np.split(np.stack(drawn), 2, 1))
        yield (support, answers), (query, answers)


def points(count: int) -> Array:
    """Draw points in the unit square."""
    return jnp.asarray(np.random.default_rng(0).random((count, 2)), dtype=float)


def solution(points: Array) -> Array:
    """Return the solution of the Poisson problem, zero on the border of the square."""
    return jnp.prod(jnp.sin(jnp.pi * points), axis=-1)


def source(points: Array) -> Array:
    """Return its source, the negative Laplacian."""
    return 2 * jnp.pi**2 * solution(points)

"""Training a field: pools of targets, losses of size 1, two optimizers in one, and blocks of steps in one program."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import muon

from jaxgrad import _tree, inr
from jaxgrad.fit._network import Field, hidden_kernels
from jaxgrad.fit._norms import weak_square
from jaxgrad.fit._run import Run
from jaxgrad.fit._settings import (
    BLOCK,
    FIRST_RATE,
    LAST_RATE,
    TABLE_FLOOR,
    TABLE_MEMORY,
    WARM_UP,
    Settings,
)
from jaxgrad.verify import CannotRun

__all__ = ["Pool", "Progress", "State", "make_pool", "train"]

KEEP_AFTER = 5.0
"""Seconds between two checkpoints at the least; one is written after the first block, and one at the end."""


def slope_across(field_fn: Callable[..., Any], params: Any, points: Any, normals: Any) -> Any:
    """Return the mean square of the slope along the normals: 0 where a field goes on evenly beyond an edge."""
    slopes = inr.coordinate_derivatives(field_fn, params, points).jacobian
    return jnp.mean(jnp.sum(slopes * normals[:, None, :], axis=-1) ** 2)


def lattice_loss(size: tuple[int, int], field_fn: Callable[..., Any], params: Any, points: Any, laplacians: Any) -> Any:
    """Return how far the Laplacian of an even field is off on a lattice of ``size``, in `weak_square`."""
    found = inr.coordinate_derivatives(field_fn, params, points, second="laplacian").laplacian
    return weak_square((found - laplacians).reshape(*size, -1))


def lattice_rows(key: Any, size: tuple[int, int], count: int) -> Any:
    """Return which of the ``count`` points of a pool make one of the lattices of ``size`` that it falls into."""
    height, width = size
    finer = math.isqrt(count // (height * width))
    down, right = jax.random.randint(key, (2,), 0, finer)
    rows = (finer * jnp.arange(height) + down)[:, None] * (finer * width)
    return (rows + finer * jnp.arange(width)[None] + right).reshape(-1)


LOSSES: dict[str, Callable[..., Any]] = {
    "value": inr.value_loss,
    "gradient": inr.gradient_loss,
    "laplacian": inr.laplacian_loss,
    "edge": slope_across,
}


class Pool(NamedTuple):
    """Points of which each step draws some, and what the field shall be there."""

    points: Any
    targets: Any
    scale: float
    """The targets' mean square: the loss is divided by it, so that a field of zeros has the loss 1."""
    part: int = 1
    """One of so many points of a step is drawn from it."""


class State(NamedTuple):
    """All that a run goes on from, and what it has seen."""

    params: Any
    optimizer: Any
    key: Any
    losses: Any
    """Of every step, NaN where there was none yet."""
    quality: Any
    """The PSNR after every block."""
    seconds: Any


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    steps: int
    loss: float
    psnr: float
    left: float
    """Seconds that the rest will take; NaN before a block has been timed."""
    ceiling: float = float("inf")
    """The PSNR of a perfect fit, where it is known."""


def make_pool(points: Any, targets: Any, match: str) -> Pool:
    """Return a pool in float32; values are scaled by their spread, derivatives by their size.

    Raises:
        CannotRun: If there is nothing to fit.
    """
    wanted = np.asarray(targets, np.float64)
    centred = wanted - wanted.mean(0) if match == "value" else wanted
    scale = float(np.mean(centred**2))
    # a constant picture has derivatives of rounding size
    if match != "value" and not scale > 1e-10:
        message = f"the picture has one colour throughout: its {match} is 0, and there is nothing to fit"
        raise CannotRun(message)
    return Pool(jnp.asarray(points, jnp.float32), jnp.asarray(wanted, jnp.float32), scale if scale > 1e-10 else 1.0)


def make_optimizer(settings: Settings, params: Any) -> Any:
    """Return Muon on the hidden kernels and Adam on the rest, or Adam alone, with a warm-up and a cosine."""
    rates = settings.rates()

    def schedule(rate: float) -> Any:
        warm_up = min(WARM_UP, settings.steps // 4)
        return optax.warmup_cosine_decay_schedule(rate * FIRST_RATE, rate, warm_up, settings.steps, rate * LAST_RATE)

    parts = {
        "hidden": muon(schedule(rates.muon)) if settings.optimizer == "muon" else optax.adam(schedule(rates.adam)),
        "rest": optax.adam(schedule(rates.beside if settings.optimizer == "muon" else rates.adam)),
        "table": optax.adam(schedule(rates.table), b2=TABLE_MEMORY, eps=TABLE_FLOOR),
    }
    hidden, paths = jax.tree.leaves(hidden_kernels(params)), _tree.leaf_paths(params)
    labels = [
        "table" if path == "entries" else "hidden" if inner else "rest"
        for path, inner in zip(paths, hidden, strict=True)
    ]
    return optax.partition(parts, jax.tree.unflatten(jax.tree.structure(params), labels))


def train(
    field: Field,
    pools: dict[str, Pool],
    settings: Settings,
    quality: Callable[[Any], float],
    *,
    run: Run,
    tell: Callable[[Progress], None],
) -> State:
    """Train a field from where its run stopped to the end.

    Args:
        field: The network with its first numbers.
        pools: Targets, by what is matched; their losses add up.
        settings: The steps, the points of each, and the optimizer.
        quality: The PSNR of parameters.
        run: Where the state is kept.
        tell: Called after every block.

    Raises:
        CannotRun: If the loss becomes NaN, or the disk refuses.
    """
    optimizer = make_optimizer(settings, field.params)
    counts = {match: max(1, settings.points // pool.part) for match, pool in pools.items()}
    block = _block(field.field_fn, optimizer, counts, settings.size)
    # scales are traced: fits to other pictures run the same program
    data = {match: (pool.points, pool.targets, jnp.float32(pool.scale)) for match, pool in pools.items()}
    state, done = _fresh(field, optimizer, settings), run.last()
    if done:
        state = State(**run.at(done, state._asdict()))
    clock = _Clock(done, settings.steps)
    while done < settings.steps:
        length = min(BLOCK, settings.steps - done)
        moving, losses = block((state.params, state.optimizer, state.key), data, length)
        state = _after(state, moving, np.asarray(losses)[:length], done, quality)
        done += length
        if not np.isfinite(state.losses[done - 1]):
            message = (
                f"the loss is no number any more after step {done}: write a smaller --learning-rate than"
                f" {settings.rates()[0 if settings.optimizer == 'muon' else 2]:g}"
            )
            raise CannotRun(message)
        state = state._replace(seconds=state.seconds + clock.lap(done))
        if clock.is_due(done):
            run.keep(done, state._asdict())
        tell(Progress(done, settings.steps, *_last(state, done), clock.left(done)))
    return state


def _fresh(field: Field, optimizer: Any, settings: Settings) -> State:
    """Return the state before the first step."""
    blocks = -(-settings.steps // BLOCK)
    return State(
        field.params,
        optimizer.init(field.params),
        jax.random.key_data(jax.random.fold_in(jax.random.key(settings.seed), 1)),
        np.full(settings.steps, np.nan, np.float32),
        np.full(blocks, np.nan, np.float32),
        np.zeros((), np.float32),
    )


def _block(
    field_fn: Callable[..., Any], optimizer: Any, counts: dict[str, int], size: tuple[int, int]
) -> Callable[..., Any]:
    """Return a compiled block of steps, ``block(moving, data, length) -> (moving, losses)``."""
    losses = LOSSES | {"lattice": functools.partial(lattice_loss, size)}

    def rows_of(key: Any, match: str, pool: int) -> Any:
        return (
            lattice_rows(key, size, pool) if match == "lattice" else jax.random.randint(key, (counts[match],), 0, pool)
        )

    def loss(params: Any, data: dict[str, Any], key: Any) -> Any:
        keys = jax.random.split(key, len(data))
        total = jnp.zeros((), jnp.float32)
        for drawn, (match, (points, targets, scale)) in zip(keys, data.items(), strict=True):
            rows = rows_of(drawn, match, len(points))
            total += losses[match](field_fn, params, points[rows], targets[rows]) / scale
        return total

    def step(moving: Any, data: dict[str, Any]) -> tuple[Any, Any]:
        params, state, key = moving
        following, drawn = jax.random.split(jax.random.wrap_key_data(key))
        value, gradient = jax.value_and_grad(loss)(params, data, drawn)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state, jax.random.key_data(following)), value

    @jax.jit  # noqa: TID251 - goes with this run
    def block(moving: Any, data: dict[str, Any], length: Any) -> tuple[Any, Any]:
        # the number of steps is traced: the last block, which may be shorter, runs the same program
        def one(number: Any, carried: Any) -> Any:
            inner, seen = carried
            inner, value = step(inner, data)
            return inner, seen.at[number].set(value)

        return jax.lax.fori_loop(0, length, one, (moving, jnp.full(BLOCK, jnp.nan, jnp.float32)))

    return block


def _after(state: State, moving: Any, losses: Any, done: int, quality: Callable[[Any], float]) -> State:
    """Return the state after a block that began at step ``done``."""
    seen, curve = state.losses.copy(), state.quality.copy()
    seen[done : done + len(losses)] = losses
    curve[done // BLOCK] = quality(moving[0])
    params, optimizer, key = moving
    return State(params, optimizer, key, seen, curve, state.seconds)


def _last(state: State, done: int) -> tuple[float, float]:
    """Return the mean loss of the last block, and the PSNR after it."""
    number = (done - 1) // BLOCK
    return float(np.mean(state.losses[number * BLOCK : done])), float(state.quality[number])


class _Clock:
    """Seconds of a run, those that are left of it, and whether its state is to be kept."""

    def __init__(self, done: int, steps: int) -> None:
        """Start the clock at some step."""
        self._steps = steps
        self._lap = self._start = time.perf_counter()
        self._from = done
        self._kept = -np.inf

    def lap(self, done: int) -> float:
        """Return the seconds since the last lap; what compiling took is not counted as time of a step."""
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        if done - self._from <= BLOCK:
            self._start, self._first = now, done
        return seconds

    def is_due(self, done: int) -> bool:
        """Whether the state after a step is to be kept: the first, the last, and each after some seconds."""
        now = time.perf_counter()
        if done < self._steps and now - self._kept < KEEP_AFTER:
            return False
        self._kept = now
        return True

    def left(self, done: int) -> float:
        """Return the seconds that the steps left will take; NaN after the first block."""
        steps = done - self._first
        return (self._lap - self._start) / steps * (self._steps - done) if steps else float("nan")

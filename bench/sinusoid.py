"""``python -m bench.sinusoid``: MAML on sine waves, by the protocol of the paper, and what it reaches on new ones.

Amplitudes from 0.1 to 5, phases from 0 to pi, ten points from -5 to 5; a ReLU network 1-40-40-1, 25 tasks a step, one
inner step of size 0.01, Adam with 1e-3 outside, 70,000 iterations. Judged on 600 new waves after up to ten steps.
"""

import itertools
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, leave, picture_at, run_command
from bench._resume import Run
from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_jax

SIZES = (1, 40, 40, 1)
RATE, SHOTS, TASKS = 0.01, 10, 25
INNER, OUTER = optax.sgd(RATE), optax.adam(1e-3)
STEPS = (0, 1, 5, 10)
"""After how many steps a new wave is judged."""


def network(params: Any, x: Any) -> Any:
    """The heights of the network at points of shape ``(n, 1)``."""
    return mlp_jax(params, x, jax.nn.relu)


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error on one wave."""
    return jnp.mean((network(params, x) - y) ** 2)


def first_params(key: Any) -> Any:
    """Return the paper's first weights: a normal of width 0.01, cut at two widths, and no biases."""
    sizes = list(itertools.pairwise(SIZES))
    keys = jax.random.split(key, len(sizes))
    return {
        f"layer{i}": {"weight": 0.01 * jax.random.truncated_normal(k, -2, 2, (b, a)), "bias": jnp.zeros(b)}
        for i, (k, (a, b)) in enumerate(zip(keys, sizes, strict=True))
    }


def waves(key: Any, count: int, points: int) -> tuple[Any, Any]:
    """Return points of new waves, and the heights there, each of shape ``(count, points, 1)``."""
    height, shift, place = jax.random.split(key, 3)
    amplitude = jax.random.uniform(height, (count, 1, 1), minval=0.1, maxval=5.0)
    phase = jax.random.uniform(shift, (count, 1, 1), maxval=jnp.pi)
    x = jax.random.uniform(place, (count, points, 1), minval=-5.0, maxval=5.0)
    return x, amplitude * jnp.sin(x - phase)


def split(data: tuple[Any, Any]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Cut the points of every wave into a support of `SHOTS` points and a query of the others."""
    x, y = data
    return (x[:, :SHOTS], y[:, :SHOTS]), (x[:, SHOTS:], y[:, SHOTS:])


@jax.jit
def block(state: Any, key: Any, first: Any) -> Any:
    """Take 1,000 meta-steps; the tasks of each follow from its number, so that a run goes on as it would have."""

    def step(state: Any, number: Any) -> tuple[Any, Any]:
        params, outer = state
        support, query = split(waves(jax.random.fold_in(key, number), TASKS, 2 * SHOTS))
        options: Any = {"optimizer": INNER, "num_steps": 1}
        value, gradient = meta.value_and_maml_gradient(loss, params, support, query, **options)
        updates, outer = OUTER.update(gradient, outer)
        return (optax.apply_updates(params, updates), outer), value

    return jax.lax.scan(step, state, first + jnp.arange(1000))


@jax.jit
def judged(params: Any, support: Any, query: Any) -> Any:
    """Return the errors on the queries of all waves after each number of steps, of shape ``(len(STEPS), waves)``."""

    def after(steps: int, support: Any, query: Any) -> Any:
        return loss(meta.adapt(loss, params, support, optimizer=INNER, num_steps=steps), *query)

    return jnp.stack([jax.vmap(lambda s, q, k=k: after(k, s, q))(support, query) for k in STEPS])


def draw(path: Path, params: Any, curve: Any, support: Any, query: Any) -> None:
    """Draw the training loss, and one new wave before and after its steps."""
    with picture_at(path, 9.5, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        left.semilogy(np.arange(1, len(curve) + 1), curve, color="#1f4e79")
        left.set(xlabel="thousand meta-steps", ylabel="error after one step", title="training")
        # amplitude and phase follow from two heights; the whole wave is drawn through a fit of sine and cosine
        x, y = (np.asarray(leaf[0, :, 0]) for leaf in query)
        parts = np.linalg.lstsq(np.stack([np.sin(x), np.cos(x)], 1), y, rcond=None)[0]
        line = np.linspace(-5, 5, 300)
        right.plot(line, np.stack([np.sin(line), np.cos(line)], 1) @ parts, color="black", lw=1, label="the wave")
        right.plot(*(np.asarray(leaf[0, :, 0]) for leaf in support), "o", color="black", ms=4, label="its ten points")
        for steps, color in zip(STEPS, ("#c9c9c9", "#e0a878", "#d1703c", "#1f4e79"), strict=True):
            fast = meta.adapt(loss, params, tuple(leaf[0] for leaf in support), optimizer=INNER, num_steps=steps)
            heights = np.asarray(network(fast, jnp.asarray(line, jnp.float32)[:, None]))[:, 0]
            right.plot(line, heights, color=color, label=f"after {steps} step{'s' * (steps != 1)}")
        right.set(xlabel="x", title="a new wave")
        right.legend(fontsize="x-small")


def main(
    thousands: Annotated[int, typer.Option(min=1, help="Meta-steps, in thousands.")] = 70,
    test: Annotated[int, typer.Option(min=2, help="New waves to judge on.")] = 600,
    seed: Annotated[int, typer.Option(help="Of the first weights and the tasks.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Keep the run here, and go on from what is kept.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train, and print the errors on new waves after up to ten steps."""
    start = time.perf_counter()
    check_picture("bench.sinusoid", picture)
    run = Run("bench.sinusoid", folder, {"seed": seed})
    init, tasks, judge = jax.random.split(jax.random.key(seed), 3)
    params = first_params(init)
    fresh = (params, OUTER.init(params)), np.full(thousands, np.nan, np.float32)
    done, (state, curve) = _resumed(run, fresh, thousands)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("sinusoid", total=thousands, completed=done)
        for number in range(done, thousands):
            state, values = block(state, tasks, 1000 * number)
            curve[number] = float(jnp.mean(values))
            run.keep(number + 1, {"state": state, "curve": curve[: number + 1]})
            progress.update(bar, advance=1, description=f"sinusoid, error {curve[number]:.3f}")
    support, query = split(waves(judge, test, 2 * SHOTS))
    errors = np.asarray(judged(state[0], support, query))
    print(f"{thousands},000 meta-steps; error on {test} new waves, with its 95% interval:")
    for steps, row in zip(STEPS, errors, strict=True):
        error = 1.96 * row.std(ddof=1) / np.sqrt(test)
        print(f"  after {steps:2d} step{'s' * (steps != 1)}: {row.mean():.3f} +- {error:.3f}")
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, state[0], curve, support, split(waves(judge, test, 10 * SHOTS))[1])


def _resumed(run: Run, fresh: Any, thousands: int) -> tuple[int, Any]:
    """Return how many blocks are done, and the state and the curve after them."""
    state, curve = fresh
    done = run.last()
    if done > thousands:
        leave("bench.sinusoid", f"the folder holds {done} thousand steps, more than --thousands {thousands}")
    if done:
        kept = run.at(done, {"state": state, "curve": curve[:done]})
        state, curve[:done] = kept["state"], kept["curve"]
    return done, (state, curve)


if __name__ == "__main__":
    run_command(main)

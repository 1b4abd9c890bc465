"""``python -m bench.multi_task``: every way to train on several losses, on two problems, in one table each.

Digits: a network with two heads, which digit and whether it is odd. Heat: a physics-informed network for
``u_t = u_xx / 10`` on the unit square, with the residual, the boundary and the initial values as losses; the solution
is ``exp(-pi^2 t / 10) sin(pi x)``. All rules start from the same weights and see the same batches. The rules of
gradients read those of the trunk that losses share, and a head has the gradient of its own loss.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench._command import check_picture, leave, picture_at, run_command
from bench._digits import digits, drawn
from bench._multi_task_rules import METHODS, Method, Problem, shared_gram
from jaxgrad.verify.cases.families._networks import mlp_jax

BATCH, BLOCK = 256, 50
"""Examples, or points, in a step, and steps in one program."""
CONDUCTIVITY = 0.1


def digits_problem(seed: int) -> Problem:
    """Which digit it is, and whether it is odd: two heads on one layer."""
    train, test = digits(1200, 500)

    def logits(params: Any, x: Any) -> tuple[Any, Any]:
        layer = jnp.tanh(mlp_jax(params["trunk"], x))
        return mlp_jax(params["digit"], layer), mlp_jax(params["parity"], layer)

    def losses(params: Any, x: Any, y: Any) -> Any:
        digit, parity = logits(params, x)
        return {
            "digit": jnp.mean(optax.softmax_cross_entropy_with_integer_labels(digit, y)),
            "parity": jnp.mean(optax.softmax_cross_entropy_with_integer_labels(parity, y % 2)),
        }

    def draw(key: Any) -> Any:
        rows = jax.random.randint(key, (BATCH,), 0, len(train[0]))
        return train[0][rows], train[1][rows]

    def scores(params: Any) -> dict[str, Any]:
        digit, parity = logits(params, test[0])
        right = jnp.mean(jnp.argmax(digit, -1) == test[1]), jnp.mean(jnp.argmax(parity, -1) == test[1] % 2)
        return {"digit wrong": 1 - right[0], "parity wrong": 1 - right[1]}

    parts = {"trunk": (64, 32), "digit": (32, 10), "parity": (32, 2)}
    params = {name: drawn(sizes, 3 * seed + i) for i, (name, sizes) in enumerate(parts.items())}
    return Problem(losses, params, draw, train, scores, "trunk")


def heat_problem(seed: int) -> Problem:
    """A network of place and time: the equation inside, zeros at both ends, a half sine at first."""

    def u(params: Any, x: Any, t: Any) -> Any:
        return mlp_jax(params, jnp.stack([2 * x - 1, 2 * t - 1]))[0]

    def residual(params: Any, point: Any) -> Any:
        rate = jax.grad(u, 2)(params, *point)
        bend = jax.grad(jax.grad(u, 1), 1)(params, *point)
        return rate - CONDUCTIVITY * bend

    def losses(params: Any, inside: Any, ends: Any, first: Any) -> Any:
        every = jax.vmap(u, (None, 0, 0))
        return {
            "boundary": jnp.mean(every(params, ends[:, 0], ends[:, 1]) ** 2),
            "initial": jnp.mean((every(params, first, jnp.zeros_like(first)) - jnp.sin(jnp.pi * first)) ** 2),
            "residual": jnp.mean(jax.vmap(residual, (None, 0))(params, inside) ** 2),
        }

    def draw(key: Any) -> Any:
        keys = jax.random.split(key, 4)
        sides = jax.random.bernoulli(keys[1], shape=(BATCH // 4,)).astype(jnp.float32)
        ends = jnp.stack([sides, jax.random.uniform(keys[2], (BATCH // 4,))], 1)
        return jax.random.uniform(keys[0], (BATCH, 2)), ends, jax.random.uniform(keys[3], (BATCH // 4,))

    grid = jnp.linspace(0, 1, 41)
    x, t = (axis.ravel() for axis in jnp.meshgrid(grid, grid))
    exact = jnp.exp(-CONDUCTIVITY * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)

    def scores(params: Any) -> dict[str, Any]:
        found = jax.vmap(u, (None, 0, 0))(params, x, t)
        return {"relative error": jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)}

    return Problem(losses, drawn((2, 32, 32, 1), seed), draw, draw(jax.random.key(seed + 1)), scores, None)


PROBLEMS = {"digits": digits_problem, "heat": heat_problem}
OPTIMIZER = optax.adam(3e-3)


class Result(NamedTuple):
    """What a method has reached on a problem."""

    losses: dict[str, float]
    scores: dict[str, float]
    conflicts: float
    """The share of the looks, one after each block, at which two gradients had a negative product."""
    milliseconds: float
    """Of one step, the median over the blocks."""


def block(method: Method, problem: Problem, carry: Any, keys: Any) -> Any:
    """Take one step for each key; the batches follow from the keys."""

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        params, optimizer, state = carry
        gradient, state = method.gradient(problem, params, state, key)
        updates, optimizer = OPTIMIZER.update(gradient, optimizer)
        return (optax.apply_updates(params, updates), optimizer, state), None

    return jax.lax.scan(step, carry, keys)[0]


def looked_at(problem: Problem, params: Any) -> Any:
    """Return the losses on what is kept for it, the scores, and whether two gradients conflict."""
    conflicts = jnp.any(shared_gram(problem, params, problem.kept) < 0)
    return problem.losses(params, *problem.kept), problem.scores(params), conflicts


def run(method: Method, problem: Problem, look: Callable[[Any], Any], keys: Any, tell: Callable[[], None]) -> Result:
    """Train by one method."""
    count = len(jax.tree.leaves(jax.eval_shape(problem.losses, problem.params, *problem.kept)))
    carry = problem.params, OPTIMIZER.init(problem.params), method.init(count, problem.params)
    parts = [keys[i : i + BLOCK] for i in range(0, len(keys) // BLOCK * BLOCK, BLOCK)] or [keys]
    # compiled first, so that no block's time has it
    program = jax.jit(functools.partial(block, method, problem)).lower(carry, parts[0]).compile()
    seconds, conflicts, seen = [], [], None
    for part in parts:
        start = time.perf_counter()
        carry = jax.block_until_ready(program(carry, part))
        seconds.append((time.perf_counter() - start) / len(part))
        seen = jax.device_get(look(carry[0]))
        conflicts.append(bool(seen[2]))
        tell()
    losses, scores = ({name: float(value) for name, value in part.items()} for part in seen[:2])
    return Result(losses, scores, float(np.mean(conflicts)), 1e3 * float(np.median(seconds)))


def draw(path: Path, results: dict[str, dict[str, Result]]) -> None:
    """Draw the scores of every method, a column for each problem."""
    from matplotlib.ticker import LogLocator, NullFormatter

    with picture_at(path, 5.5 * len(results), 0.21 * max(map(len, results.values())) + 1.6) as figure:
        columns = figure.subplots(1, len(results), squeeze=False)[0]
        for axes, (name, found) in zip(columns, results.items(), strict=True):
            for i, score in enumerate(next(iter(found.values())).scores):
                values = [result.scores[score] for result in found.values()]
                axes.plot(values, list(found), "os"[i], color=("#1f4e79", "#d1703c")[i], label=score)
            axes.set(xscale="log", title=f"{name}: better to the left")
            # within a decade matplotlib names every minor tick, one over the other
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.grid(axis="y", lw=0.3)
            axes.invert_yaxis()
            axes.tick_params("y", labelsize="small")
            axes.legend(fontsize="small")


def table(found: dict[str, Result]) -> Table:
    """Lay out the results on one problem."""
    made, first = Table(), next(iter(found.values()))
    for title in ("method", *first.losses, *first.scores, "conflicts", "ms a step"):
        made.add_column(title, justify="left" if title == "method" else "right")
    for name, result in found.items():
        numbers = [f"{value:.2e}" for value in result.losses.values()]
        numbers += [f"{value:.2%}" for value in result.scores.values()]
        made.add_row(name, *numbers, f"{result.conflicts:.0%}", f"{result.milliseconds:.2f}")
    return made


def chosen(asked: list[str] | None, known: dict[str, Any], kind: str) -> list[str]:
    """Return the names that were asked for, all where none were; leave where one is unknown."""
    unknown = [name for name in asked or [] if name not in known]
    if unknown:
        leave("bench.multi_task", f"there is no {kind} {unknown[0]!r}; the {kind}s are {', '.join(known)}")
    return asked or list(known)


def main(
    steps: Annotated[int, typer.Option(min=1, help=f"Steps of Adam; above {BLOCK} a multiple of it.")] = 800,
    seed: Annotated[int, typer.Option(min=0, help="First weights and batches.")] = 0,
    problem: Annotated[list[str] | None, typer.Option(help="Only this problem; several times for several.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; several times for several.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train by every method on the same batches, and print what each has reached and what a step takes."""
    start = time.perf_counter()
    check_picture("bench.multi_task", picture)
    if steps > BLOCK and steps % BLOCK:
        leave("bench.multi_task", f"--steps {steps} is no multiple of {BLOCK}")
    problems, methods = chosen(problem, PROBLEMS, "problem"), chosen(method, METHODS, "method")
    results: dict[str, dict[str, Result]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("multi-task", total=len(problems) * len(methods) * max(1, steps // BLOCK))
        for name in problems:
            made, results[name] = PROBLEMS[name](seed), {}
            look = jax.jit(functools.partial(looked_at, made))
            for rule in methods:
                progress.update(bar, description=f"{name}, {rule}")
                keys = jax.random.split(jax.random.key(seed), steps)
                results[name][rule] = run(METHODS[rule], made, look, keys, lambda: progress.update(bar, advance=1))
    for name, found in results.items():
        print(f"{name}: {steps} steps by each of {len(found)} methods")
        Console().print(table(found))
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, results)


if __name__ == "__main__":
    run_command(main)

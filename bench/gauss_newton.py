"""``python -m bench.gauss_newton``: a physics-informed network by Levenberg-Marquardt, and by Adam in the same time.

The clamped beam of ``bench.pinn``: ``u'''' = q`` on ``[0, 1]`` with the solution ``sin(pi x)^2``, a small network and
its residuals at fixed points, in float64. Both methods start from the same parameters, and their clocks stand while
programs are compiled. Adam's rate falls over as many steps as fit into the time that the other took.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, picture_at, run_command
from bench.pinn import SCALE, deflection
from jaxgrad import curvature, nth
from jaxgrad.verify.cases.families._networks import mlp_params

SIZES = (1, 20, 20, 1)


def residual(params: Any, x: Any, weight: Any) -> Any:
    """The beam's equation at a point, in units of the load, times a weight."""
    bending = nth.derivative(deflection, x[None], 4, params)[0]
    return weight * (bending / SCALE + jnp.cos(2 * jnp.pi * x))


def loss(params: Any, x: Any) -> Any:
    """Half the mean square of the residual."""
    bending = nth.derivative(deflection, x, 4, params)
    return 0.5 * jnp.mean((bending / SCALE + jnp.cos(2 * jnp.pi * x)) ** 2)


def newton_block(steps: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the first state, and a program of some steps of Levenberg and Marquardt."""
    optimizer = curvature.gauss_newton(residual, damping=1e-2, per_example=True)

    def step(carry: Any, x: Any) -> Any:
        params, state = carry
        update, state = optimizer.update(None, state, params, batch=(x, jnp.full_like(x, x.size**-0.5)))
        return (optax.apply_updates(params, update), state), (state.loss, state.accepted)

    return optimizer.init, _block(step, steps)


def adam_block(steps: int, total: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the first state, and a program of some steps of Adam."""
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, total))

    def step(carry: Any, x: Any) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, x)
        update, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, update), state), (value, jnp.ones((), bool))

    return optimizer.init, _block(step, steps)


def _block(step: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """Compile several steps as one program."""
    return jax.jit(lambda carry, x: jax.lax.scan(lambda c, _: step(c, x), carry, None, length=steps))


def timed(
    name: str, block: Callable[..., Any], carry: Any, x: Any, blocks: int, progress: Progress
) -> tuple[Any, Any, Any, float]:
    """Run blocks, and return the parameters, the seconds and the loss after each, and the share of steps accepted."""
    jax.block_until_ready(block(carry, x))
    seconds, losses, accepted, start = [], [], [], time.perf_counter()
    task = progress.add_task(name, total=blocks)
    for _ in range(blocks):
        carry, (values, taken) = block(carry, x)
        losses.append(float(values[-1]))
        seconds.append(time.perf_counter() - start)
        accepted.append(float(np.mean(taken)))
        progress.update(task, advance=1, description=f"{name}, loss {losses[-1]:.1e}")
    return carry[0], np.array(seconds), np.array(losses), float(np.mean(accepted))


def error(params: Any) -> float:
    """Return the relative L2 error of the deflection, at points between those of the fit."""
    x = np.linspace(0, 1, 1001)
    found, exact = np.asarray(deflection(jnp.asarray(x), params)), np.sin(np.pi * x) ** 2
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def draw(path: Path, curves: dict[str, tuple[Any, Any]]) -> None:
    """Draw the losses over the seconds."""
    with picture_at(path, 6, 3.6, dpi=120) as figure:
        axes = figure.subplots()
        for (name, (seconds, losses)), color in zip(curves.items(), ("#1f4e79", "#d1703c"), strict=True):
            axes.semilogy(seconds, losses, label=name, color=color)
        axes.set(xlabel="seconds", ylabel="half the mean square residual", title="a clamped beam by a network")
        axes.grid(alpha=0.3)
        axes.legend()
        axes.spines[["top", "right"]].set_visible(False)


def main(
    steps: Annotated[
        int, typer.Option(min=10, max=1_000_000, help="Steps of Levenberg-Marquardt; whole tens are taken.")
    ] = 100,
    points: Annotated[int, typer.Option(min=8, max=100_000, help="Collocation points.")] = 128,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Fit by both, and print the losses and the errors against the closed form."""
    check_picture("bench.gauss_newton", picture)
    jax.config.update("jax_enable_x64", True)
    params = jax.tree.map(jnp.asarray, mlp_params(SIZES, 0))
    x, size = jnp.linspace(0, 1, points), sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{size} parameters, {points} points, loss at the start {float(jax.jit(loss)(params, x)):.2e}")
    with Progress(console=Console(stderr=True)) as progress:
        init, block = newton_block(10)
        name = "Levenberg-Marquardt"
        fitted, seconds, losses, share = timed(name, block, (params, init(params)), x, steps // 10, progress)
        print(
            f"{name}: {10 * len(losses)} steps in {seconds[-1]:.2f} s, {share:.0%} accepted,"
            f" loss {losses[-1]:.2e}, error of the deflection {error(fitted):.1e}"
        )
        # a first short run tells how many steps fit, by its fastest part: Adam is given rather too much time
        init, block = adam_block(100, 100)
        _, trial, _, _ = timed("Adam, to time it", block, (params, init(params)), x, 8, progress)
        blocks = max(1, int(seconds[-1] / np.diff(trial).min()))
        init, block = adam_block(100, 100 * blocks)
        adam, taken, values, _ = timed("Adam", block, (params, init(params)), x, blocks, progress)
    print(
        f"Adam: {100 * blocks} steps in {taken[-1]:.2f} s, loss {values[-1]:.2e},"
        f" error of the deflection {error(adam):.1e}"
    )
    below = np.flatnonzero(losses <= values.min())
    if len(below):
        lower = values.min() / losses[-1]
        print(f"{name} was at Adam's best loss after {seconds[below[0]]:.2f} s, and ends {lower:.1e} times lower")
    else:
        print(f"{name} did not reach Adam's best loss, {values.min():.2e}")
    if picture:
        first = float(jax.jit(loss)(params, x))
        curves = {name: (seconds, losses), "Adam": (taken, values)}
        draw(picture, {key: (np.append(0, s), np.append(first, v)) for key, (s, v) in curves.items()})


if __name__ == "__main__":
    run_command(main)

"""``python -m bench.landscape``: how sharp a minimum is, and what the loss looks like around it.

A digits classifier before and after training: the largest eigenvalues of the Hessian, its trace and the density of its
eigenvalues; and the training loss over the plane of the two sharpest directions, every point of it in one program.
"""

import functools
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, picture_at, run_command
from bench._digits import accuracy, digits, drawn, mean_loss, trained
from jaxgrad import curvature

SIZES = (64, 32, 10)
PRODUCT = functools.partial(curvature.hvp, mean_loss)
REACH = 4.0
"""How far the plane goes: so far that along a direction of the curvature c, c r^2 / 2 adds this much to the loss."""


class Around(NamedTuple):
    """What is known of the loss around some parameters."""

    loss: float
    accuracy: float
    values: Any
    """The five largest eigenvalues of the Hessian."""
    converged: Any
    """Whether each is one."""
    vectors: Any
    trace: float
    trace_error: float
    density: Any
    """A `curvature.SpectralDensity`."""


def around(params: Any, train: Any, test: Any, probes: int, products: int) -> Around:
    """Look at the Hessian of the training loss."""
    first, second, third = jax.random.split(jax.random.key(0), 3)
    pairs = curvature.eigenpairs(PRODUCT, params, *train, k=5, key=first, num_products=products)
    trace = curvature.trace(PRODUCT, params, *train, key=second, num_samples=probes)
    density = curvature.spectral_density(PRODUCT, params, *train, key=third, num_samples=4, num_products=products)
    return Around(
        float(mean_loss(params, *train)),
        accuracy(params, *test),
        np.asarray(pairs.values),
        np.asarray(pairs.converged),
        pairs.vectors,
        float(trace.estimate),
        float(trace.standard_error),
        jax.tree.map(np.asarray, density),
    )


@jax.jit
def plane(params: Any, vectors: Any, across: Any, along: Any, train: Any) -> Any:
    """Return the loss at every point of a plane, of shape ``(along, across)``."""

    def at(a: Any, b: Any) -> Any:
        return mean_loss(jax.tree.map(lambda w, v: w + a * v[0] + b * v[1], params, vectors), *train)

    return jax.lax.map(lambda b: jax.vmap(lambda a: at(a, b))(across), along)


def draw(path: Path, states: dict[str, Around], surface: tuple[Any, Any, Any]) -> None:
    """Draw the densities of the eigenvalues, and the plane with its lines of equal loss."""
    with picture_at(path, 10.5, 4.2) as figure:
        (left, right) = figure.subplots(1, 2)
        for (name, state), color in zip(states.items(), ("#d1703c", "#1f4e79"), strict=True):
            left.semilogy(state.density.grid, np.maximum(state.density.density, 1e-12), color=color, label=name)
            for value in state.values:
                left.axvline(value, ymax=0.05, color=color)
        # less than a tenth of one eigenvalue in a unit of the axis is nothing but the edge of a bump
        left.set(
            xlabel="eigenvalue of the Hessian",
            ylabel="density",
            ylim=(1e-5, None),
            title="spectrum; ticks: the largest five",
        )
        left.legend(fontsize="small")
        across, along, losses = surface
        lines = right.contourf(across, along, np.log10(losses), 24, cmap="viridis")
        right.contour(across, along, np.log10(losses), 12, colors="white", linewidths=0.4, linestyles="solid")
        right.plot(0, 0, "o", color="white", markeredgecolor="black")
        right.set(
            xlabel="first eigenvector", ylabel="second eigenvector", title="training loss around the trained parameters"
        )
        figure.colorbar(lines, ax=right, label="log10 of the loss")


def main(
    train: Annotated[int, typer.Option(min=10, help="How many training digits.")] = 1000,
    test: Annotated[int, typer.Option(min=2, help="How many test digits.")] = 500,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Steps of Adam on the whole batch.")] = 300,
    decay: Annotated[float, typer.Option(min=0.0, max=1e3, help="Weight decay of the training.")] = 1e-4,
    products: Annotated[
        int, typer.Option(min=8, max=1_000_000, help="Products for eigenvalues, and for each probe.")
    ] = 60,
    probes: Annotated[int, typer.Option(min=2, max=10_000, help="Probes for the trace.")] = 64,
    points: Annotated[int, typer.Option(min=3, max=1_001, help="Points along an axis of the plane.")] = 61,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train, and print what the Hessian is before and after, and the loss over the plane."""
    start = time.perf_counter()
    check_picture("bench.landscape", picture)
    data, tests = digits(train, test)
    params, states = drawn(SIZES, 0), {}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("landscape", total=4)
        for name in ("before training", "after training"):
            if states:
                params = jax.jit(trained, static_argnums=(4,))(params, *data, decay, steps)
                progress.update(task, advance=1)
            states[name] = around(params, data, tests, probes, products)
            progress.update(task, advance=1)
        after = states["after training"]
        reach = np.sqrt(2 * REACH / np.maximum(after.values[:2], 1e-6))
        across, along = (np.linspace(-r, r, points) for r in reach)
        losses = np.asarray(plane(params, after.vectors, jnp.float32(across), jnp.float32(along), data))
        progress.update(task, advance=1)
    for name, state in states.items():
        shown = " ".join(f"{v:.3g}{'' if c else '?'}" for v, c in zip(state.values, state.converged, strict=True))
        print(
            f"{name}: loss {state.loss:.3g}, test accuracy {state.accuracy:.1%}, largest eigenvalues {shown},"
            f" trace {state.trace:.3g} +- {state.trace_error:.1g}, smallest {state.density.nodes.min():.2g}"
        )
    least = np.unravel_index(np.argmin(losses), losses.shape)
    print(
        f"plane of {points} x {points} points: loss from {losses.min():.3g}, at ({across[least[1]]:.2g},"
        f" {along[least[0]]:.2g}), to {losses.max():.3g}"
    )
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, states, (across, along, losses))


if __name__ == "__main__":
    run_command(main)

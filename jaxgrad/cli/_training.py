"""What the commands that train have alike: their options, and how far they are, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from jaxgrad.fit._settings import (
    GRID_LAYERS,
    GRID_WIDTH,
    LAYERS,
    MATCHES,
    MODELS,
    OPTIMIZERS,
    POINTS,
    SIZE,
    SPLINE_STEPS,
    STEPS,
    TARGETS,
    WIDTH,
)

__all__ = [
    "Background",
    "Layers",
    "Match",
    "Model",
    "Optimizer",
    "Points",
    "Rate",
    "Seed",
    "Size",
    "Steps",
    "TargetMethod",
    "Width",
    "progress",
    "with_duration",
]

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

Match = Annotated[str, typer.Option(metavar="|".join(MATCHES), help="What of the picture the field is fitted to.")]
Model = Annotated[str, typer.Option(metavar="|".join(MODELS), help="The network.")]
Optimizer = Annotated[
    str, typer.Option(metavar="|".join(OPTIMIZERS), help="Muon on the hidden kernels and Adam on the rest, or Adam.")
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Steps of training; {STEPS} by default, for splines {SPLINE_STEPS['gradient']}, by Laplacian"
        f" {SPLINE_STEPS['laplacian']}.",
        show_default=False,
    ),
]
Size = Annotated[
    str,
    typer.Option(
        metavar="PIXELS",
        help=f"The picture is cut to its middle and scaled to SIZE x SIZE, or HEIGHTxWIDTH; {SIZE} by default.",
        show_default=False,
    ),
]
TargetMethod = Annotated[
    str,
    typer.Option(
        "--targets",
        metavar="|".join(TARGETS),
        help="How the picture is differentiated; spectral and spline also between its pixels.",
    ),
]
Points = Annotated[
    int, typer.Option(metavar="N", help=f"Points drawn in each step; {POINTS} by default.", show_default=False)
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="NUMBER", help="Of the optimizer, after the warm-up.", show_default="by model"
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the first weights and of the points.")]
Width = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help=f"Units of a hidden layer; {WIDTH} by default, {GRID_WIDTH} for grids.",
        show_default=False,
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(metavar="N", help=f"Hidden layers; {LAYERS} by default, {GRID_LAYERS} for grids.", show_default=False),
]
Background = Annotated[str, typer.Option(metavar="COLOUR", help="Behind what is transparent.")]


@contextmanager
def progress() -> Iterator[tuple[Callable[[Any], None], Callable[[str], None]]]:
    """Show training on standard error: a bar on a terminal, elsewhere a line every ten seconds and at the end.

    Yields what is called with a `jaxgrad.fit._training.Progress`, and what is called with a line.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    if not console.is_terminal:
        yield _lines(say), say
        return
    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=None)
        yield (
            lambda seen: bar.update(task, total=seen.steps, completed=seen.step, description=_words(seen)),
            say,
        )


def _lines(say: Callable[[str], None]) -> Callable[[Any], None]:
    """Return what tells a line every so often, and the last."""
    last = [-EVERY]

    def tell(seen: Any) -> None:
        now = time.monotonic()
        if now - last[0] >= EVERY or seen.step == seen.steps:
            last[0] = now
            say(f"step {seen.step} of {seen.steps}: {_words(seen)}")

    return tell


def _words(seen: Any) -> str:
    """Return what is known after a block."""
    left = f", {with_duration(seen.left)} left" if seen.step < seen.steps and seen.left == seen.left else ""
    bound = f" of {seen.ceiling:.1f}" if seen.ceiling < 120 else ""
    # a blend whose mask is nowhere 0 has nothing to be compared with
    ratio = f", PSNR {seen.psnr:.2f}{bound} dB" if seen.psnr == seen.psnr else ""
    return f"loss {seen.loss:.2e}{ratio}{left}"


def with_duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"

"""``jaxgrad fit``: a field is fitted to a picture by its values, its gradient or its Laplacian."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxgrad.cli import AGREE
from jaxgrad.cli._output import attempt, standard_output
from jaxgrad.cli._training import (
    Background,
    Layers,
    Match,
    Model,
    Optimizer,
    Points,
    Rate,
    Seed,
    Size,
    Steps,
    TargetMethod,
    Width,
    progress,
    with_duration,
)
from jaxgrad.fit._settings import MATCH, METHOD, MODEL, OPTIMIZER, POINTS, SIZE, Settings, parse_size

__all__ = ["fit"]


def fit(
    image: Annotated[Path, typer.Argument(help="A picture file of any format and depth.")],
    match: Match = MATCH,
    model: Model = MODEL,
    optimizer: Optimizer = OPTIMIZER,
    steps: Steps = None,
    size: Size = str(SIZE),
    targets: TargetMethod = METHOD,
    points: Points = POINTS,
    learning_rate: Rate = None,
    seed: Seed = 0,
    width: Width = None,
    layers: Layers = None,
    background: Background = "white",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", "--out", metavar="DIR", help="The run's folder.", show_default="IMAGE-MATCH, here"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder where it stopped.")
    ] = False,
) -> int:
    """Fit a field to a picture by its values, its gradient or its Laplacian.

    The folder then holds panel.png (target, fit, gradients, errors, curve), weights.safetensors and record.json, and
    the state of training, from which --resume goes on with the same numbers after any interruption.

    Exit codes: 0 when it is done, 2 when it cannot run, 130 after Ctrl-C.
    """
    settings = Settings.usual(
        match,
        model,
        steps=steps,
        width=width,
        layers=layers,
        optimizer=optimizer,
        targets=targets,
        size=parse_size(size),
        points=points,
        learning_rate=learning_rate,
        seed=seed,
    )
    folder = out or Path(f"{image.stem}-{match}")
    from jaxgrad.fit._fit import check_folder, fit_picture
    from jaxgrad.fit._packages import check_packages
    from jaxgrad.fit._picture import check_file
    from jaxgrad.fit._words import decibels, ratios

    check_packages()
    check_file(image)
    attempt(lambda: check_folder(folder, resume))
    with progress() as (tell, say):
        record = attempt(
            lambda: fit_picture(image, settings, folder, resume=resume, background=background, tell=tell, say=say)
        )
    bound = "" if match == "value" else f"; a perfect fit to these targets: {decibels(record['ceiling'])}"
    with standard_output():
        sys.stdout.write(
            f"{ratios(record)}, SSIM {record['ssim']:.4f}{bound}\n"
            f"{record['steps']} steps in {with_duration(record['seconds'])}; panel.png, weights.safetensors and"
            f" record.json are in {folder}\n"
        )
    return AGREE

"""``jaxgrad blend``: two pictures in one, by their gradients."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxgrad.cli import AGREE
from jaxgrad.cli._output import attempt, standard_output
from jaxgrad.cli._render import check_picture_name
from jaxgrad.cli._training import (
    Background,
    Layers,
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
)
from jaxgrad.fit._settings import METHOD, MODEL, OPTIMIZER, POINTS, SIZE, Settings, parse_size

__all__ = ["blend"]


def blend(
    first: Annotated[Path, typer.Argument(help="The picture that the other is set into.")],
    second: Annotated[Path, typer.Argument(help="The picture of which a part is set in.")],
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|BOX",
            help="Where the second counts: a picture, white inside, or LEFT,TOP,RIGHT,BOTTOM in pixels of --size.",
            show_default="the middle half of each side",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--output", "--out", metavar="FILE", help="The picture that is made.")
    ] = Path("blend.png"),
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
) -> int:
    """Fuse two pictures by their gradients.

    One field is fitted to the gradient of SECOND inside the mask and of FIRST outside, and to the values of FIRST along
    the border of the picture, two pixels deep: what is set in takes on the light of its surroundings, and no seam is
    seen. Both pictures are cut to their middle and scaled to the same size first. Only differences of the second count,
    never its level; what the two gradients cannot agree on along the mask is spread around it by least squares.

    Exit codes: 0 when it is done, 2 when it cannot run, 130 after Ctrl-C.
    """
    settings = Settings.usual(
        "gradient",
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
    from jaxgrad.fit._blend import blend_files
    from jaxgrad.fit._packages import check_packages
    from jaxgrad.fit._panel import save_picture
    from jaxgrad.fit._picture import check_file

    check_packages()
    check_file(first)
    check_file(second)
    check_picture_name(out)
    with progress() as (tell, say):
        values = attempt(lambda: blend_files(first, second, mask, settings, background=background, tell=tell, say=say))
    attempt(lambda: save_picture(out, values))
    with standard_output():
        sys.stdout.write(f"{settings.size[0]} x {settings.size[1]} pixels are in {out}\n")
    return AGREE

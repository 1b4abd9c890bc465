"""``jaxgrad render``: a fitted run as a picture of any size."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxgrad.cli import AGREE
from jaxgrad.cli._output import attempt, check_writable, standard_output

__all__ = ["check_picture_name", "render"]


def render(
    run: Annotated[Path, typer.Argument(help="The folder of a run of jaxgrad fit.")],
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Pixels along each side, HEIGHTxWIDTH, or a factor such as 4x.")
    ] = "2x",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            "--out",
            metavar="FILE",
            help="The picture; its ending says the format.",
            show_default="render-HxW.png in the run's folder",
        ),
    ] = None,
) -> int:
    """Draw a fitted run at any resolution: the field is evaluated at the new pixels' centres.

    Exit codes: 0 when it is done, 2 when it cannot run, 130 after Ctrl-C.
    """
    from jaxgrad.fit._packages import check_packages
    from jaxgrad.fit._render import render as draw

    check_packages()
    if out is not None:
        check_picture_name(out)
    path, (height, width), fitted = attempt(lambda: draw(run, size, out))
    old = " x ".join(map(str, fitted.size))
    with standard_output():
        sys.stdout.write(f"{height} x {width} pixels, of a field that was fitted to {old}, are in {path}\n")
    return AGREE


def check_picture_name(path: Path) -> None:
    """Refuse a picture that could not be written, before anything is computed.

    Raises:
        CannotRun: If its folder cannot be written, or its ending is that of no picture.
    """
    from jaxgrad.fit._picture import check_ending

    check_writable(path)
    check_ending(path)

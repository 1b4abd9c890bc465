"""The options that several commands have, and what they take."""

from pathlib import Path
from typing import Annotated

import typer

from jaxgrad.cli._output import FORMATS
from jaxgrad.verify import LOSS_NAMES, QUANTITIES, CannotRun

__all__ = ["Dtypes", "Format", "Output", "Spec", "Tolerance", "What", "check_dtypes", "check_tolerance"]

PRECISIONS = ("float64", "float32", "bfloat16", "float16")

Spec = Annotated[
    Path,
    typer.Argument(
        help="A Python file that defines spec = dict(torch=..., jax=..., loss=..., batch=...), the arguments of"
        f" jaxgrad.verify.pair. loss is {', '.join(LOSS_NAMES)}, or (torch function, JAX function) of (output, target)."
    ),
]
What = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help=f"Quantities, separated by commas: {', '.join(QUANTITIES)}; or all.", show_default="usual"
    ),
]
Dtypes = Annotated[
    str,
    typer.Option(metavar="NAMES", help=f"Precisions among {', '.join(PRECISIONS)}; float64 decides the definition."),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="The largest relative error of a leaf in float64 that agrees.",
        show_default="1e-10",
    ),
]
Format = Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How to write the report.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the report there.", show_default="standard output"),
]


def check_dtypes(text: str) -> list[str]:
    """Return the precisions of an option, ``float64`` first, for it decides the definition.

    Raises:
        CannotRun: If one is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in PRECISIONS]
    if wrong:
        message = f"--dtype takes {', '.join(PRECISIONS)}; got {', '.join(map(repr, wrong))}"
        raise CannotRun(message)
    return list(dict.fromkeys(["float64", *names]))


def check_tolerance(tolerance: float | None) -> dict[str, float]:
    """Return the option as an argument, where it was given.

    Raises:
        CannotRun: If nothing, or everything, would agree within it.
    """
    if tolerance is None:
        return {}
    if not 0 < tolerance < 1:
        message = f"--tolerance must lie between 0 and 1, such as 1e-8; got {tolerance:g}"
        raise CannotRun(message)
    return {"tolerance": tolerance}

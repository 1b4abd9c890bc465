"""``python -m bench.fields``: networks, optimizers and targets compared on four pictures.

Every network is fitted by every optimizer to every kind of target of scikit-image's astronaut, coffee, chelsea and
camera, and judged by what `jaxgrad fit` writes down: PSNR after mean and after affine alignment, SSIM, the relative L2
error of the gradient, seconds and steps; beside them the ceiling of the targets. The JSON file is written after every
fit, and a run that is started again goes on after the last of them.
"""

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench._command import check_folder, check_picture, leave, picture_at, run_command
from jaxgrad.fit import _fit, _record, _settings
from jaxgrad.fit._picture import Picture, cut
from jaxgrad.verify import CannotRun, _files

PICTURES = ("astronaut", "coffee", "chelsea", "camera")
METHODS = ("spectral", "central", "sobel")
COLORS = {"spectral": "#1f4e79", "spline": "#3b8f5a", "central": "#d1703c", "sobel": "#8a6fb0"}
COMMAND = "bench.fields"


class Task(NamedTuple):
    """One fit."""

    picture: str
    model: str
    optimizer: str
    targets: str


def prepared(name: str, size: int) -> Any:
    """Return one of scikit-image's pictures, cut to its middle and scaled."""
    import skimage.data

    array = getattr(skimage.data, name)() / 255.0
    return cut(Picture(array[..., None] if array.ndim == 2 else array, ()), (size, size)).values


def fitted(task: Task, settings: _settings.Settings) -> dict[str, Any]:
    """Fit one field, and return what it came to; a fit that broke is a row of its own."""
    try:
        found = _fit.fit_array(prepared(task.picture, settings.size[0]), settings)
    except CannotRun as error:
        return {**task._asdict(), "failed": str(error)}
    return {
        **task._asdict(),
        "steps": settings.steps,
        "seconds": round(float(found.state.seconds), 2),
        "ceiling": found.targets.ceiling,
        **found.measures,
        "loss": float(np.mean(found.state.losses[-_settings.BLOCK :])),
        "psnrs": [float(ratio) for ratio in found.state.quality],
    }


@contextlib.contextmanager
def shared_programs() -> Iterator[None]:
    """Keep what is compiled on disk meanwhile: fits to other pictures and targets run the same programs."""
    import jax

    wanted = {"jax_compilation_cache_dir": "", "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in wanted}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in (wanted | {"jax_compilation_cache_dir": folder}).items():
            jax.config.update(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)


def listed(name: str, text: str, choices: tuple[str, ...]) -> list[str]:
    """Return the words of an option."""
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if word not in choices]
    if wrong:
        leave(COMMAND, f"--{name} takes some of {', '.join(choices)}; got {', '.join(map(repr, wrong))}")
    return words


def kept(path: Path | None, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that an earlier run of the same settings has written."""
    if path is None or not path.exists():
        return []
    try:
        found = json.loads(path.read_text())
        if found["settings"] == about:
            return list(found["rows"])
    except (ValueError, KeyError, TypeError):
        leave(COMMAND, f"{path} is no file of this command; name another with --output")
    leave(COMMAND, f"{path} holds a comparison of other settings; name another file with --output")
    return []


def keep(path: Path | None, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write all rows, whole or not at all."""
    if path is None:
        return
    whole = _record.finite({"settings": about, "versions": _record.versions(), "rows": rows})
    text = json.dumps(whole, indent=1, allow_nan=False)
    try:
        _files.write_atomically(path, lambda file: file.write(f"{text}\n".encode()))
    except OSError as error:
        leave(COMMAND, str(error))


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table of all fits."""
    columns = ("picture", "model", "optimizer", "targets", "mean dB", "affine dB", "ceiling", "SSIM", "gradient", "s")
    table = Table(*columns, title="fits by their targets: PSNR after alignment, and what a perfect fit would have")
    for row in rows:
        names = [row[name] for name in Task._fields]
        if "failed" in row:
            table.add_row(*names, row["failed"])
            continue
        bound = "-" if row["ceiling"] is None else "> 120" if row["ceiling"] > 120 else f"{row['ceiling']:.2f}"
        numbers = [f"{row['psnr_mean']:.2f}", f"{row['psnr_affine']:.2f}", bound, f"{row['ssim']:.4f}"]
        table.add_row(*names, *numbers, f"{row['gradient_error']:.3f}", f"{row['seconds']:.0f}")
    Console().print(table)


def draw(path: Path, rows: list[dict[str, Any]], title: str) -> None:
    """Draw every fit as a point, the pictures side by side: targets by colour, Muon filled and Adam hollow."""
    pictures = list(dict.fromkeys(row["picture"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    with picture_at(path, 3.4 * len(pictures) + 1, 1.6 + 0.42 * len(models)) as figure:
        figure.suptitle(title, fontsize="small")
        for number, (axes, picture) in enumerate(
            zip(figure.subplots(1, len(pictures), sharey=True, squeeze=False)[0], pictures, strict=True)
        ):
            _points(axes, [row for row in rows if row["picture"] == picture and "failed" not in row], models)
            axes.set(title=picture, xlabel="PSNR in dB, mean-aligned")
            if number == 0:
                axes.set_yticks(range(len(models)), models)
                axes.invert_yaxis()
        handles = _legend(rows)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), fontsize="x-small", frameon=False
        )


def _points(axes: Any, rows: list[dict[str, Any]], models: list[str]) -> None:
    """Draw the fits to one picture, and the ceilings of its targets as lines."""
    for row in rows:
        color, muon = COLORS[row["targets"]], row["optimizer"] == "muon"
        height = models.index(row["model"]) + (0.12 if muon else -0.12)
        axes.plot(row["psnr_mean"], height, "o", color=color, ms=5, mfc=color if muon else "none")
    for method in dict.fromkeys(row["targets"] for row in rows):
        bound = next(row["ceiling"] for row in rows if row["targets"] == method)
        if bound is not None and bound < 100:
            axes.axvline(bound, color=COLORS[method], ls="--", lw=1)
    axes.grid(axis="x", color="#e6e6e6", lw=0.6)


def _legend(rows: list[dict[str, Any]]) -> list[Any]:
    """Return what colours, fillings and lines mean."""
    from matplotlib.lines import Line2D

    dot = {"ls": "", "marker": "o", "ms": 5}
    found = [
        Line2D([], [], color=COLORS[name], label=f"{name} targets", **dot)
        for name in dict.fromkeys(row["targets"] for row in rows)
    ]
    fills = [
        Line2D([], [], color="#555555", label=name, mfc=fill, **dot)
        for name, fill in (("muon", None), ("adam", "none"))
    ]
    return [*found, *fills, Line2D([], [], color="#555555", ls="--", lw=1, label="ceiling of the targets")]


def main(
    size: Annotated[int, typer.Option(min=8, help="Pixels along a side.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each fit.")] = 300,
    points: Annotated[int, typer.Option(min=1, help="Points a step.")] = 512,
    width: Annotated[int, typer.Option(min=1, help="Units of a hidden layer.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Hidden layers.")] = 3,
    match: Annotated[str, typer.Option(help="value, gradient or laplacian.")] = "gradient",
    models: Annotated[str, typer.Option(help="Networks, separated by commas.")] = ",".join(_settings.MODELS),
    optimizers: Annotated[str, typer.Option(help="Optimizers, separated by commas.")] = "muon,adam",
    targets: Annotated[str, typer.Option(help="Kinds of targets, separated by commas.")] = ",".join(METHODS),
    pictures: Annotated[str, typer.Option(help="Pictures, separated by commas.")] = ",".join(PICTURES),
    seed: Annotated[int, typer.Option(help="Of the first weights and of the points.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the rows there as JSON, and go on from it.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Fit all combinations, print them, and write them down."""
    check_picture(COMMAND, picture)
    check_folder(COMMAND, output)
    chosen = (
        listed("pictures", pictures, PICTURES),
        listed("models", models, _settings.MODELS),
        listed("optimizers", optimizers, _settings.OPTIMIZERS),
        listed("targets", targets, _settings.TARGETS),
    )
    try:
        base = _settings.Settings(
            match, steps=steps, size=(size, size), points=points, seed=seed, width=width, layers=layers
        )
    except CannotRun as error:
        leave(COMMAND, str(error))
    about = {name: value for name, value in base.plain().items() if name in ABOUT}
    rows = kept(output, about)
    done = {tuple(row[name] for name in Task._fields) for row in rows}
    tasks = [Task(p, m, o, t) for m in chosen[1] for o in chosen[2] for t in chosen[3] for p in chosen[0]]
    left = [task for task in tasks if tuple(task) not in done]
    with shared_programs(), Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("fields", total=len(tasks), completed=len(tasks) - len(left))
        for task in left:
            progress.update(bar, description=" ".join(task))
            settings = _settings.Settings(**{**_plain(base), **_options(task)})
            rows.append(fitted(task, settings))
            keep(output, about, rows)
            progress.advance(bar)
    rows = sorted(
        _record.finite(rows), key=lambda row: [PICTURES.index(row["picture"]), -(row.get("psnr_mean") or -math.inf)]
    )
    show(rows)
    if picture:
        draw(
            picture,
            rows,
            f"{size} x {size} pixels by {match}, {layers} hidden layers of {width}, {steps} steps of {points} points",
        )


ABOUT = ("match", "steps", "size", "points", "seed", "width", "layers")
"""What all rows share."""


def _plain(settings: _settings.Settings) -> dict[str, Any]:
    """Return the arguments of settings."""
    return {name: getattr(settings, name) for name in ABOUT}


def _options(task: Task) -> dict[str, str]:
    """Return what a row adds to the settings."""
    return {"model": task.model, "optimizer": task.optimizer, "targets": task.targets}


if __name__ == "__main__":
    run_command(main)

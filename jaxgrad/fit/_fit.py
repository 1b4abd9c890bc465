"""Fitting a field to a picture file, and what is left in the run's folder."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgrad.fit._picture import Picture, cut, read_picture
from jaxgrad.fit._run import SETTINGS, STEPS, Run
from jaxgrad.fit._settings import BLOCK, EDGE_PART, EDGE_WEIGHT, Settings
from jaxgrad.fit._words import decibels, lines
from jaxgrad.verify import CannotRun

__all__ = [
    "PANEL",
    "RECORD",
    "WEIGHTS",
    "Fitted",
    "check_folder",
    "fit_array",
    "fit_picture",
    "open_run",
]

PANEL, WEIGHTS, RECORD = "panel.png", "weights.safetensors", "record.json"
"""What a fit leaves in its folder."""


class Fitted(NamedTuple):
    """What a fit came to."""

    field: Any
    """The network, with its last numbers in ``params``."""
    offset: Any
    """What is added to each channel: 0 where values were matched, else what the targets' mean fixes."""
    values: Any
    """At the pixels, ``(H, W, C)``, with the offset."""
    gradient: Any
    """At the pixels, ``(H, W, C, 2)``."""
    measures: dict[str, float]
    state: Any
    targets: Any


def fit_picture(
    path: Path,
    settings: Settings,
    folder: Path,
    *,
    resume: bool = False,
    background: str = "white",
    tell: Callable[[Any], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fit a field to a picture file, and leave panel, weights and record in a folder.

    Args:
        path: The picture.
        settings: What is fitted, and how.
        folder: Where the run is kept.
        resume: Go on with the run that is there.
        background: The colour behind what is transparent.
        tell: Called after every block of steps.
        say: Called with a line about what was decided.

    Returns:
        The record.

    Raises:
        CannotRun: In one line, for whatever is wrong with the arguments, the file, the folder or the disk.
    """
    check_folder(folder, resume)
    picture = cut(read_picture(path, background), settings.size)
    for note in picture.notes:
        say(f"{path.name}: {note}")
    if settings.match != "value" and np.ptp(picture.values, (0, 1)).max() == 0:
        message = f"{path} has one colour throughout: its {settings.match} is 0, and there is nothing to fit"
        raise CannotRun(message)
    about = {**settings.plain(), "image": path.name, "background": background, "pixels": _digest(picture.values)}
    run = open_run(folder, about, resume=resume)
    if run.last():
        say(f"going on from step {run.last()}")
    try:
        fitted = fit_array(picture.values, settings, run=run, tell=tell, say=say)
    except Exception:
        # no memory for it, or a loss that is no number: before the first checkpoint there is nothing to go on from
        run.clean()
        raise
    record = _record(about, picture, fitted)
    _leave(folder, settings, path.name, picture, fitted, record)
    return record


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder before anything is read.

    Raises:
        CannotRun: If there is a run that is not to go on, or none that could.
    """
    there = (folder / SETTINGS).is_file()
    if resume and not there:
        message = f"--resume: {folder} holds no run; leave --resume out to start one"
        raise CannotRun(message)
    if not resume and there and _has_checkpoint(folder):
        message = f"{folder} holds a run already: write --resume to go on with it, or name another folder with --out"
        raise CannotRun(message)


def open_run(folder: Path, about: dict[str, Any], *, resume: bool) -> Run:
    """Open the folder of a run; a run that was stopped before its first checkpoint is no run.

    Raises:
        CannotRun: If the folder holds something else, or cannot be written.
    """
    if not resume and (folder / SETTINGS).is_file() and not _has_checkpoint(folder):
        shutil.rmtree(folder / STEPS, ignore_errors=True)
        (folder / SETTINGS).unlink()
    return Run("fit", folder, about, option="--out")


def _has_checkpoint(folder: Path) -> bool:
    """Whether a run has kept a state."""
    steps = folder / STEPS
    return steps.is_dir() and any(path.name.isdecimal() for path in steps.iterdir())


def _digest(values: Any) -> str:
    """Return a name of the numbers of a picture, rounded to what float32 tells apart."""
    return hashlib.sha256(np.round(values * 2**20).astype(np.int64).tobytes()).hexdigest()[:16]


def fit_array(
    values: Any,
    settings: Settings,
    *,
    run: Run | None = None,
    tell: Callable[[Any], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Fit a field to a picture of ``(H, W, C)`` from 0 to 1.

    Raises:
        CannotRun: If there is nothing to fit, the loss becomes NaN or the disk refuses.
    """
    import jax

    from jaxgrad.fit._network import Sampler, make_field
    from jaxgrad.fit._quality import measures
    from jaxgrad.fit._targets import targets_of
    from jaxgrad.fit._training import train

    targets = targets_of(values, settings)
    if settings.match != "value":
        say(f"{settings.targets} targets: a perfect fit would have {decibels(targets.ceiling)}")
    field = make_field(settings, values.shape[-1], jax.random.fold_in(jax.random.key(settings.seed), 0))
    pools = _pools(targets, settings)
    sampler = Sampler(field, settings.size)
    align = "none" if settings.match == "value" else "mean"
    state = train(
        field,
        pools,
        settings,
        lambda params: sampler.psnr(params, values, align),
        run=run or Run("fit", None, {}),
        tell=lambda seen: tell(seen._replace(ceiling=targets.ceiling)),
    )
    field = field._replace(params=state.params)
    found, gradient = sampler.values(state.params), sampler.gradient(state.params)
    # a field that is matched by its derivatives is known up to a constant
    offset = np.zeros(values.shape[-1], np.float32)
    if settings.match != "value":
        offset = (values - found).mean((0, 1)).astype(np.float32)
        say(f"the constant of each channel, which no {settings.match} knows, is that of the picture's mean")
    wanted = np.asarray(targets.pixels.gradients).reshape(gradient.shape)
    judged = measures(found + offset, values, gradient, wanted)
    return Fitted(field, offset, found + offset, gradient, judged, state, targets)


def _pools(targets: Any, settings: Settings) -> dict[str, Any]:
    """Return what a fit draws from, by what is matched there.

    A Laplacian needs a condition along the edges, where the picture's even field has no slope across: a network that is
    even has it, and is fitted on whole lattices; any other draws points there too.
    """
    import jax.numpy as jnp

    from jaxgrad.fit._targets import edges_of
    from jaxgrad.fit._training import Pool, make_pool

    pool = make_pool(targets.points, targets.wanted, settings.match)
    if settings.match != "laplacian":
        return {settings.match: pool}
    slope = float(np.mean(np.square(targets.pixels.gradients)))
    if settings.on_lattices:
        # in the norm of lattices a field of zeros is off by the picture's square slope
        return {"lattice": pool._replace(scale=slope)}
    points, normals = edges_of(settings.size)
    edge = Pool(jnp.float32(points), jnp.float32(normals), slope / EDGE_WEIGHT, EDGE_PART)
    return {"laplacian": pool, "edge": edge}


def _record(about: dict[str, Any], picture: Picture, fitted: Fitted) -> dict[str, Any]:
    """Return what is written down of a fit."""
    from jaxgrad.fit._record import versions

    state = fitted.state
    steps = len(state.losses)
    return {
        "command": "fit",
        "settings": about,
        "versions": versions(),
        "notes": list(picture.notes),
        "channels": picture.values.shape[-1],
        "seconds": float(state.seconds),
        "steps": steps,
        "ceiling": fitted.targets.ceiling,
        **fitted.measures,
        "loss": float(np.mean(state.losses[-BLOCK:])),
        "losses": [float(loss) for loss in state.losses],
        "psnrs": [[step, ratio] for step, ratio in _curve(state, steps)],
    }


def _curve(state: Any, steps: int) -> list[tuple[int, float]]:
    """Return steps and the PSNR after them."""
    return [(min((i + 1) * BLOCK, steps), float(ratio)) for i, ratio in enumerate(state.quality)]


def _leave(
    folder: Path, settings: Settings, name: str, picture: Picture, fitted: Fitted, record: dict[str, Any]
) -> None:
    """Write weights, panel and record; whatever the disk refuses is told in one line.

    Raises:
        CannotRun: In place of the system's error.
    """
    from jaxgrad.fit._network import named
    from jaxgrad.fit._panel import Panel, draw_panel
    from jaxgrad.fit._record import write_record
    from jaxgrad.fit._weights import write_weights

    arrays = named(fitted.field.params, fitted.field.constants) | {"offset": fitted.offset}
    shape = picture.values.shape
    panel = Panel(
        f"{name}: {settings.model} by {settings.match}, {settings.targets} targets, {settings.optimizer}",
        picture.values,
        fitted.values,
        np.asarray(fitted.targets.pixels.gradients).reshape(*shape, 2),
        fitted.gradient,
        fitted.state.losses,
        _curve(fitted.state, record["steps"]),
        fitted.targets.ceiling,
        tuple(lines(settings, record)),
    )
    try:
        write_weights(folder / WEIGHTS, arrays, {"settings": record["settings"], "channels": shape[-1]})
        draw_panel(folder / PANEL, panel)
        write_record(folder / RECORD, record)
    except OSError as error:
        raise CannotRun(str(error)) from error

"""A run made from a spec, and two runs compared: what the commands ``dump`` and ``diff`` do."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxgrad.verify._errors import PairError
from jaxgrad.verify.judge._tolerances import DEFINITION_F64
from jaxgrad.verify.port._spec_file import parts
from jaxgrad.verify.port.dumps._dump import compare_runs, dump_jax, dump_torch, dumped_names
from jaxgrad.verify.port.dumps._files import read_run, write_run
from jaxgrad.verify.report._records import Report

__all__ = ["diff", "dump"]


def dump(
    side: Literal["torch", "jax"],
    spec: str | Path,
    folder: str | Path,
    *,
    like: str | Path | None = None,
    what: str | None = None,
    dtypes: Sequence[str] = ("float64", "float32"),
) -> int:
    """Write one side's numbers to a folder, to be compared where the other framework is not installed.

    Args:
        side: Which side of the spec is computed.
        spec: A Python file that defines ``spec``, the arguments of `pair`.
        folder: Where the run goes, made if it is missing.
        like: For ``"jax"``, the torch run whose weights and batch it takes.
        what: Quantities separated by commas, or ``"all"``; ``None`` takes the usual ones.
        dtypes: The precisions.

    Returns:
        How many groups of arrays were written.

    Raises:
        PairError: If the spec does not import or lacks something, or ``like`` is missing or too much.
        ValueError: If a name is no quantity that can be dumped.
        OSError: If the disk refuses; an older run in the folder stays whole.

    Cost:
        What `Pair.check` costs on one side.

    Example:
        >>> from jaxgrad import verify
        >>> verify.dump("torch", "nowhere.py", "run")
        Traceback (most recent call last):
        ...
        jaxgrad.verify._errors.PairError: the spec nowhere.py does not exist: ...

    References:
        The format is that of `write_run`.
    """
    if side not in ("torch", "jax"):
        message = f"dump takes torch or jax; got {side}"
        raise PairError(message)
    if (side == "jax") != (like is not None):
        message = (
            "dump jax needs torch's run: dump torch first, then `jaxgrad dump jax SPEC --like RUN -o FOLDER`"
            if like is None
            else "--like belongs to dump jax: torch's run is the one that the other is like"
        )
        raise PairError(message)
    names = dumped_names(what)
    if like is None:
        groups, about = dump_torch(parts(spec, "torch", "loss", "batch"), names, dtypes)
    else:
        run = read_run(like)
        groups, about = dump_jax(parts(spec, "jax", "loss"), run, names, dtypes)
    write_run(folder, groups, about)
    return len(groups)


def diff(run_a: str | Path, run_b: str | Path, *, tolerance: float = DEFINITION_F64) -> Report:
    """Compare two dumped runs; neither framework's models are needed.

    Args:
        run_a: A run.
        run_b: The run that it is compared with, the reference; torch's is the reference in either place.
        tolerance: The largest relative error of a leaf in float64.

    Returns:
        The report.

    Raises:
        DumpError: If a run is not what was written.
        ValueError: If they share no quantity in float64.

    Cost:
        Reads both runs; nothing is computed.

    Example:
        >>> from jaxgrad import verify
        >>> verify.diff("run_a", "run_b")
        Traceback (most recent call last):
        ...
        jaxgrad.verify.port.dumps._files.DumpError: run_a/run.json is missing: ...

    References:
        The two stages of the verdict are those of `Pair.check`.
    """
    a, b = (str(run_a), *read_run(run_a)), (str(run_b), *read_run(run_b))
    ours, theirs = (b, a) if _is_torch(a) and not _is_torch(b) else (a, b)
    report = compare_runs(ours[1:], theirs[1:], tolerance)
    return dataclasses.replace(report, meta={**report.meta, "runs": f"{ours[0]} against {theirs[0]}"})


def _is_torch(run: tuple[Any, ...]) -> bool:
    """Say whether a run is torch's."""
    return run[2].get("side") == "torch"

"""Runs cases in both frameworks, in float64 and float32, and yields a row for everything they compare."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgrad.verify import judge
from jaxgrad.verify._errors import CannotRun, first_line, missing, require
from jaxgrad.verify.cases._case import Case, Criterion, Quantity, build_all
from jaxgrad.verify.cases._fault_injection import Plant, planted
from jaxgrad.verify.cases._picture import save
from jaxgrad.verify.cases._result import Row
from jaxgrad.verify.cases._select import select

__all__ = ["prepare", "run", "run_case"]

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)


def run(
    cases: str | Sequence[str] | None = None,
    *,
    device: str | None = None,
    plant: Plant | None = None,
    figures: Path | None = None,
) -> Iterator[Row]:
    """Compare the built-in cases with PyTorch, one after the other.

    Everything is computed in float64, where two definitions agree to rounding, and in float32, where our error
    against the float64 answer is measured in multiples of torch's own. x64 is on while a case runs, whatever the
    caller's setting; torch computes on the CPU.

    Args:
        cases: Ids or patterns of them, as in `select`; ``None`` runs every case.
        device: The platform for JAX: ``"cpu"``, ``"gpu"`` or ``"tpu"``; ``None`` takes JAX's default.
        plant: An error to plant in our own result: a self-test, which must end in a row that differs.
        figures: A folder, made where it is missing, that receives the pictures that some cases draw.

    Returns:
        An iterator of rows, each yielded when it is known. An error in a case is a row that differs, with the
        reason.

    Raises:
        CannotRun: If a case, the device or a package is not there; raised before any case runs where that can be
            seen, and when a case asks for the package otherwise.

    Cost:
        Compiles and calls both frameworks for every quantity: seconds for a case, minutes for all of them.

    Example:
        >>> from jaxgrad import verify
        >>> [row.verdict for row in verify.run("H2")]
        ['agree', 'agree', 'agree']

    References:
        The two stages follow ``same`` of ``torch._dynamo.utils``, which measures in multiples of a reference's error.
    """
    chosen = select(cases)
    place = prepare(chosen, device, plant, figures)
    return (row for case in chosen for row in run_case(case, device=place, plant=plant, figures=figures))


def prepare(cases: Sequence[Case], device: str | None, plant: Plant | None, figures: Path | None) -> jax.Device | None:
    """Return the device, after refusing what would fail in the middle of a run.

    Raises:
        CannotRun: If a package, the device or the folder is missing, or the planted error names a case that does not
            run.
    """
    require("torch", "torch_ref", *(("matplotlib",) if figures else ()))
    if plant is not None and plant.case not in {case.id for case in cases}:
        message = f"the planted error names case {plant.case!r}, which is not among those that run"
        raise CannotRun(message)
    place = find_device(device)
    if figures is not None:
        try:
            figures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the folder {figures} for pictures cannot be made: {error.strerror}"
            raise CannotRun(message) from None
    return place


def find_device(platform: str | None) -> jax.Device | None:
    """Return the first device of a platform; ``None`` for JAX's default.

    Raises:
        CannotRun: If this machine, or this installation of JAX, has none.
    """
    if platform is None:
        return None
    if platform not in ("cpu", "gpu", "tpu"):
        message = f"the device must be cpu, gpu or tpu; got {platform!r}"
        raise CannotRun(message)
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        message = f"JAX finds no {platform} here; it runs on {jax.default_backend()}"
        raise CannotRun(message) from None


def run_case(
    case: Case, *, device: jax.Device | None = None, plant: Plant | None = None, figures: Path | None = None
) -> Iterator[Row]:
    """Yield the rows of one case; an error in it becomes a row that differs.

    Raises:
        CannotRun: If a package that the case needs is not installed, or its planted error has no leaf to go to.
    """
    try:
        with _settings(device):
            pairs = _build(case, plant)
    except Exception as error:
        yield _failed(case, "the case itself", error)
        return
    for double, single in pairs:
        try:
            with _settings(device):
                row = (
                    _measure(case, double, figures) if isinstance(double, Criterion) else _compare(case, double, single)
                )
        except Exception as error:
            row = _failed(case, double.name, error)
        yield row


@contextmanager
def _settings(device: jax.Device | None) -> Iterator[None]:
    """Compute with x64, in full precision, on a device; left between rows, since a generator's caller runs there."""
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision("highest"),
        jax.default_device(device),
        _one_thread_of_torch(),
    ):
        yield


@contextmanager
def _one_thread_of_torch() -> Iterator[None]:
    """Let torch compute on one thread: on arrays so small, several cost ten times as much in waiting for each other."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _build(case: Case, plant: Plant | None) -> list[tuple[Any, Any]]:
    """Return what a case compares, in float64 and in float32, with the planted error where it belongs."""
    doubles, singles = build_all(case, DOUBLE), build_all(case, SINGLE)
    if not doubles or [item.name for item in doubles] != [item.name for item in singles]:
        message = "the case must compare something, and name the same in float64 and in float32"
        raise ValueError(message)
    pairs = list(zip(doubles, singles, strict=True))
    return planted(pairs, plant) if plant is not None and plant.case == case.id else pairs


def _compare(case: Case, double: Quantity, single: Quantity) -> Row:
    """Compute one quantity four times, and judge it."""
    ours64, theirs64 = _ours(double)[0], _timed(double.torch)[0]
    (ours32, first), (_, second) = _ours(single), _ours(single)
    theirs32, torch_seconds = _timed(single.torch)
    verdict = judge.judge((ours64, ours32), (theirs64, theirs32), double.truth)
    leaf = verdict.wrong[0][0] if verdict.wrong else verdict.definition.path
    return Row(
        case.id,
        case.title,
        double.name,
        "differ" if verdict.wrong else "agree",
        error_f64=verdict.definition.error,
        noise_f32=verdict.rounding.error,
        leaf=leaf or "value",
        reason="; ".join(f"{path or 'value'}: {words}" for path, words in verdict.wrong),
        first_call_s=first,
        second_call_s=second,
        torch_s=torch_seconds,
    )


def _measure(case: Case, criterion: Criterion, figures: Path | None) -> Row:
    """Measure a criterion, and save its picture where pictures are asked for."""
    (holds, figure), seconds = _timed(criterion.measure)
    if figures is not None and criterion.draw is not None:
        save(criterion.draw, figures, f"{case.id} {criterion.name}")
    return Row(
        case.id,
        case.title,
        criterion.name,
        "agree" if holds else "differ",
        measured=figure,
        reason="" if holds else f"the criterion does not hold: {figure}",
        first_call_s=seconds,
    )


def _ours(quantity: Quantity) -> tuple[dict[str, np.ndarray], float]:
    """Compute our result of a quantity, and wait for it."""
    result, seconds = _timed(lambda: jax.block_until_ready(quantity.jax()))
    return judge.to_numpy(result), seconds


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _failed(case: Case, quantity: str, error: Exception) -> Row:
    """Return the row of an error in a case.

    Raises:
        CannotRun: If the error says that the case cannot run here at all.
    """
    if isinstance(error, CannotRun):
        raise error
    if line := missing(error):
        raise line from None
    reason = first_line(error)
    lines = "".join(traceback.format_exception(error))
    return Row(case.id, case.title, quantity, "differ", reason=reason, traceback=lines)

"""``python -m bench.scale``: the same functions on many devices and in many processes, held against one device.

It starts its processes itself, over loopback, or is started once for each by SLURM, Kubernetes or MPI, and joins the
others there. Each process is watched by the one that has started it: one that is lost ends the run within
``--time-out``, with one line, and so do processes that all live and wait for each other for ever; ``--resume`` goes on
from what was kept.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench._command import leave, make_results_folder, run_command

COMMAND = "bench.scale"
MOST = 64
"""Devices of a machine that is all there is."""
RESULT, TRAINING = "scale.json", "training"
"""What the folder of a run holds."""


def main(
    devices: Annotated[str, typer.Option(help="Numbers of devices, of one process and of several.")] = "1,2,4,8",
    processes: Annotated[str, typer.Option(help="Numbers of processes beside one; 'none': one alone.")] = "2,4",
    only: Annotated[
        str, typer.Option(help="Some of clipped_sum, curvature, maml, inr, fsdp, prediction, training.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick/--full", help="In shard_map alone, or with jit too.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Calls that are timed.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 60,
    keep_every: Annotated[int, typer.Option(min=1, help="Steps from one checkpoint to the next.")] = 10,
    out: Annotated[Path | None, typer.Option(help="A folder for the result and the checkpoints.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    time_out: Annotated[
        float,
        typer.Option(min=5.0, max=86400.0, help="Seconds to find the others, and after which a silent one is lost."),
    ] = 60.0,
    cluster: Annotated[
        str, typer.Option(help="auto, none, slurm, ompi, mpi4py or k8s: how JAX finds the other processes.")
    ] = "auto",
    local_devices: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST,
            help="In a cluster, CPU devices of a process; 0: its accelerators, or those of this machine.",
        ),
    ] = 1,
) -> None:
    """Compute on many devices and in many processes, and compare with one device to 1e-12 in float64."""
    from bench import _scale_cluster
    from bench._scale_forms import FORMS, PLACEMENTS

    names = _names(only, [*FORMS, "prediction", "training"])
    place = _scale_cluster.found(COMMAND, cluster)
    forms = [name for name in names if name in FORMS]
    plan: list[tuple[int, list[int]]] = [(0 if place else 1, [])]
    if place is None and local_devices > 1:
        leave(COMMAND, "--local-devices counts where a cluster has started the processes; here --devices does")
    if place is None and local_devices:
        plan = _plan(_counts("--devices", devices), _counts("--processes", processes, none=True), forms, names)
    settings: dict[str, Any] = {
        "plan": plan,
        "names": names,
        "placements": list(PLACEMENTS[:1] if quick else PLACEMENTS),
        "rounds": rounds,
        "steps": steps,
        "keep_every": keep_every,
    }
    # in a cluster the first process alone has a folder: the others may see the same one, or none
    out = None if place and place.index else out
    record = _begin(out, resume and not (place and place.index), settings)
    for number, (count, sizes) in enumerate(plan):
        group = _group(record, settings, count, sizes, last=number == len(plan) - 1)
        # in a cluster the others wait for the first process, whatever it knows
        if place is None and not (group["forms"] or group["training"] or group["prediction"]):
            continue
        folder = out and str(out.absolute() / TRAINING)
        training = {"folder": folder, "steps": steps, "every": keep_every}
        group["training"] = training if group["training"] else None
        common = {**group, "time_out": time_out}
        if place:
            one = {"index": place.index, "processes": 0, "local": local_devices, "address": None}
            told = [{**common, **one, "detection": place.detection}]
        elif not sizes:
            one = {"index": 0, "processes": 1, "local": 0, "address": None}
            told = [{**common, **one, "detection": None}]
        else:
            address = _scale_cluster.free_address()
            one = {"processes": count, "local": max(sizes) // count, "address": address, "detection": None}
            told = [{**common, **one, "index": index} for index in range(count)]
        _run(told, out, record, time_out)


def _run(told: list[dict[str, Any]], out: Path | None, record: dict[str, Any], time_out: float) -> None:
    """Run one group of processes; leave with one line where one is lost."""
    import sys

    from bench import _scale_group, _scale_record

    def heard(kind: str, found: Any) -> None:
        print(_scale_record.line_of(kind, found), flush=True)
        if kind == "training":
            record["training"] = found
        else:
            record[f"{kind}s"].append(found)
        _save(out, record)

    def started(index: int, process: int) -> None:
        print(f"process {index}: pid {process}", file=sys.stderr, flush=True)

    ended = _scale_group.run_group(told, time_out, heard, started)
    if not ended:
        return
    # who has lost another one is not the cause
    ended.sort(key=lambda one: one.is_lost)
    message = "; ".join(map(str, ended))
    if any(one.is_hung for one in ended):
        message += "; where something takes that long, as to compile, a longer --time-out lets it"
    training = told[0]["training"]
    if training and out and any(one.is_lost or one.code < 0 for one in ended):
        kept = _last_step(Path(training["folder"]))
        message += f"; step {kept} of the training is kept: the same command with --resume goes on from there"
    leave(COMMAND, message, code=2 if ended[0].code == 2 else 1)


def _last_step(folder: Path) -> int:
    """Return the last step that is kept."""
    from jaxgrad.fit._run import STEPS

    steps = folder / STEPS
    return (
        max((int(path.name) for path in steps.iterdir() if path.name.isdecimal()), default=0) if steps.is_dir() else 0
    )


def _names(only: str, known: list[str]) -> list[str]:
    """Return what is to run."""
    import difflib

    names = [name.strip() for name in only.split(",")] if only.strip() else []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            leave(COMMAND, f"--only has no {name!r}; {hint}there are {', '.join(known)}")
    return [name for name in known if name in names] or known


def _counts(option: str, text: str, none: bool = False) -> list[int]:
    """Return numbers from a text, each once and in order."""
    if none and text.strip() in ("none", ""):
        return []
    parts = [part.strip() for part in text.split(",")]
    if any(not part.isdecimal() or not 1 <= int(part) <= MOST for part in parts):
        leave(COMMAND, f"{option} takes whole numbers from 1 to {MOST} with commas between them; got {text!r}")
    return sorted({int(part) for part in parts})


def _plan(devices: list[int], processes: list[int], forms: list[str], names: list[str]) -> list[tuple[int, list[int]]]:
    """Return, for each number of processes, the numbers of devices that it runs on."""
    plan = [(1, devices)] if forms or "prediction" in names or not processes else []
    for count in processes:
        if count == 1:
            leave(COMMAND, "--processes are those beside one; write 'none' for one alone")
        fit = [one for one in devices if one % count == 0]
        if not fit:
            given = ", ".join(map(str, devices))
            leave(COMMAND, f"--processes {count} divides none of the numbers of devices: {given}")
        plan.append((count, fit))
    return plan


def _group(
    record: dict[str, Any], settings: dict[str, Any], count: int, sizes: list[int], last: bool
) -> dict[str, Any]:
    """Return what a group of processes is told to do: what an earlier run has not done.

    In a cluster there is one group, of a size that nobody knows yet, on all devices at once; so it is on accelerators.
    """
    from bench._scale_forms import FORMS, placements_of

    own = [one for one in record["forms"] if one["processes"] == count or not sizes]
    done = {(one["form"], one["placement"], one["devices"] if sizes else 0) for one in own}

    def misses(name: str) -> bool:
        placements = placements_of(FORMS[name], settings["placements"])
        return any((name, one, size) not in done for one in placements for size in sizes or [0])

    # what was begun is done again: its rows would stand there twice
    forms = [name for name in settings["names"] if name in FORMS and misses(name)]
    record["forms"] = [one for one in record["forms"] if one["form"] not in forms or one not in own]
    # numbers of another size would stand beside those: a cluster's is known when its processes have met
    begun = [*record["forms"], *filter(None, [record["training"]])] if not sizes else []
    training = last and "training" in settings["names"] and record["training"] is None
    first = count == settings["plan"][0][0]
    prediction = first and "prediction" in settings["names"] and not record["predictions"]
    return {
        "begun_with": [begun[0]["processes"], begun[0]["devices"]] if begun else None,
        "forms": forms,
        "devices": sizes,
        "placements": settings["placements"],
        "rounds": settings["rounds"],
        "prediction": [name for name in settings["names"] if name in FORMS] or list(FORMS) if prediction else [],
        "training": training,
    }


def _begin(out: Path | None, resume: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a run, new or to go on with; leave where the folder does not fit."""
    import json

    from bench import _scale_record
    from jaxgrad.fit._run import differences

    new: dict[str, Any] = {
        "environment": _scale_record.environment(),
        "run": settings,
        "forms": [],
        "predictions": [],
        "training": None,
    }
    if out is None:
        if resume:
            leave(COMMAND, "--resume goes on with the run in --out: name that folder")
        return new
    make_results_folder(COMMAND, out, RESULT)
    path = out / RESULT
    if not resume:
        if path.exists() or (out / TRAINING).exists():
            leave(COMMAND, f"{out} holds a run; --resume goes on with it, or name a new folder")
        _save(out, new)
        return new
    if not path.exists():
        leave(COMMAND, f"--resume: {out} holds no run of this command")
    record = _scale_record.load(COMMAND, path)
    given = json.loads(json.dumps(settings))
    other = differences({name: record["run"].get(name) for name in given}, given)
    if other:
        plan = ", numbers of processes and of their devices, by which sums are rounded" if "plan" in other else ""
        leave(COMMAND, f"--resume: {out} holds another run: {other}{plan}; write what is there, or name a new folder")
    return record


def _save(out: Path | None, record: dict[str, Any]) -> None:
    """Write what there is by now; leave where the disk refuses."""
    from bench import _scale_record

    if out is None:
        return
    try:
        _scale_record.save(out / RESULT, record)
    except OSError as error:
        leave(COMMAND, str(error), code=1)


if __name__ == "__main__":
    run_command(main)

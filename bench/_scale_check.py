"""The check of what goes between devices: collectives of every form of ``python -m bench.scale``, never a time.

The rows of the bench run on one device, where nothing is sent. The forms are laid out and compiled for 2 and for 8 CPU
devices of one process, in a process of its own, for JAX counts its devices when it starts; nothing of them runs. What
they send, and what lies on each device, is held against the committed result of a run. It takes half a minute.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib

from bench import _scale_record
from bench._agreement import in_a_line
from bench._command import leave
from bench._phases import compiled_quickly
from bench._scale_forms import FORMS, PLACEMENTS, placements_of
from bench._scale_group import alive, end_with_parent, run_group
from bench._scale_layout import chosen_devices, described, mesh_of, program

__all__ = ["COMMITTED", "compiled", "differences", "is_as_committed"]

COMMITTED = Path(__file__).parent / "results" / "scale.json"

WORKER = (sys.executable, "-m", "bench._scale_check")

SIZES = (2, 8)
"""Numbers of devices; a run has 1 and 4 too, which would double the time: one sends nothing to another, and by the
committed result four send what eight do."""

PATIENCE = 60.0
"""Seconds after which a compilation is given up."""

PLACE = ("form", "placement", "devices")


def is_as_committed(command: str, path: Path) -> bool:
    """Print what differs between the forms as they are and a committed result; leave where that cannot be told.

    Args:
        command: What is said before a line about wrong usage.
        path: The result of ``python -m bench.scale``; of another version of JAX there is nothing to compare with.

    Returns:
        Whether nothing differs.
    """
    record = _scale_record.load(command, path)
    here = [one for one in record["forms"] if one["processes"] == 1 and one.get("device_kind", "cpu") == "cpu"]
    own, on = [one for one in here if one["devices"] in SIZES], " and ".join(map(str, SIZES))
    if not own:
        leave(command, f"{path} has no form on {on} CPU devices of one process")
    made = {name: record["environment"]["versions"].get(name) for name in ("jax", "jaxlib")}
    if made != {"jax": jax.__version__, "jaxlib": jaxlib.__version__}:
        words = ", ".join(f"{name} {version}" for name, version in made.items())
        print(f"{command}: {path.name} was made with {words}: nothing to compare here")
        return True
    wanted = [
        (name, placement, devices)
        for name, form in FORMS.items()
        for placement in placements_of(form, PLACEMENTS)
        for devices in SIZES
    ]
    now: list[dict[str, Any]] = []
    told = {"index": 0, "processes": 1, "local": max(SIZES), "address": None, "wanted": wanted}
    ended = run_group([told], PATIENCE, lambda _, found: now.append(found), command=WORKER)
    if ended:
        leave(command, f"the forms of bench.scale could not be compiled: {ended[0]}", code=1)
    lines = differences(own, now)
    print("\n".join([*lines, f"{len(now)} forms of bench.scale compiled for {on} devices, {len(lines)} differences"]))
    if lines:
        print(f"where that is meant: python -m bench.scale --out DIR, and its scale.json in place of {path}")
    return not lines


def differences(committed: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[str]:
    """Return what has changed, a line for each kind of collective of a form, and for the bytes of its arguments.

    Args:
        committed: Forms as a result of ``python -m bench.scale`` has them.
        now: Those of `compiled`, or with ``why`` one that breaks.
    """
    known = {tuple(one[name] for name in PLACE): one for one in committed}
    found = []
    for one in now:
        place = tuple(one[name] for name in PLACE)
        before, key = known.pop(place, None), _key(place)
        if "why" in one:
            found.append(f"{key}: {one['why']}")
        elif before is None:
            found.append(f"{key}: has no committed collectives")
        else:
            kinds = sorted({*before["collectives"], *one["collectives"]})
            pairs = [(kind, *(_said(side["collectives"].get(kind)) for side in (before, one))) for kind in kinds]
            pairs.append(("bytes of arguments on a device", before.get("argument_bytes"), one["argument_bytes"]))
            found += [f"{key}: {name} {old} -> {new}" for name, old, new in pairs if old != new]
    return [*found, *(f"{_key(place)}: is no form any more" for place in known)]


def _key(place: Sequence[Any]) -> str:
    """Return what a form on some devices is called."""
    name, placement, devices = place
    return f"bench.scale {name}, {placement}, devices {devices}"


def _said(sent: dict[str, int] | None) -> str:
    """Return how many collectives of a kind there are, and their bytes."""
    return f"{sent['count']} of {sent['bytes']} bytes" if sent else "none"


def compiled(name: str, placement: str, devices: int) -> dict[str, Any]:
    """Compile a form for some devices, and return what it sends; where it breaks, why: the others are compared."""
    alive(f"{name} on {devices} devices, {placement}")
    place = dict(zip(PLACE, (name, placement, devices), strict=True))
    try:
        form = FORMS[name]
        mesh = mesh_of(chosen_devices(devices), "Explicit" in placement)
        run, given = program(form, placement, mesh, form.padded(form.inputs(form.count), devices))
        return place | described(run.lower(*given).compile())
    except Exception as error:
        return place | {"why": in_a_line(error)}


def main() -> None:
    """Compile what is asked for, and say what each sends, in a line of JSON."""
    from bench._scale_worker import configure

    settings = json.loads(sys.argv[1])
    end_with_parent()
    configure(settings)
    with compiled_quickly():
        for one in settings["wanted"]:
            print(json.dumps({"form": compiled(*one)}), flush=True)


if __name__ == "__main__":
    main()

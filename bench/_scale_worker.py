"""One process of ``python -m bench.scale``: it joins the others, computes its part, and says in one line why it ends.

What it finds goes, one line of JSON each, to standard output; the first process alone has something to say. Where
another process is lost, a collective fails, or JAX's coordination service ends this process with a page of its own:
the process that has started this one makes a line of it.
"""

import json
import os
import re
import statistics
import sys
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from bench._agreement import DisagreementError
from bench._measure import clocked
from bench._scale_forms import FORMS, Form, gradient_bytes, placements_of
from bench._scale_group import LOST, alive, end_with_parent
from bench._scale_layout import chosen_devices, described, mesh_of, program, whole
from jaxgrad.verify import CannotRun
from jaxgrad.verify.judge import compare, worst

__all__ = ["TOLERANCE", "configure"]

TOLERANCE = 1e-12
"""The largest relative L2 difference of a leaf from one device's, in float64."""

PEER = re.compile("gloo|nccl|coordination|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED", re.IGNORECASE)
"""What an error says where it comes from another process; others, as of memory, are the process's own."""

WARM = 2
"""Calls before the clock runs."""


def main() -> None:
    """Join, compute, and leave."""
    settings = json.loads(sys.argv[1])
    end_with_parent()
    alive("joining the others")
    try:
        configure(settings)
        if jax.process_count() > 1 and not settings["address"]:
            # each was told by a command of its own, and the first process's alone knows what an earlier run has done
            settings = {**settings, **of_the_first(settings)}
        check_place(settings["begun_with"])
        for form in settings["forms"]:
            for devices in settings["devices"] or [jax.device_count()]:
                for placement in placements_of(FORMS[form], settings["placements"]):
                    say("form", of_form(FORMS[form], placement, devices, settings["rounds"]))
        if settings["prediction"] and jax.process_index() == 0:
            from bench._scale_prediction import predictions

            alive("predictions")
            for one in predictions(settings["prediction"]):
                say("prediction", one)
        if settings["training"]:
            from bench._scale_training import train

            alive("training")
            folder = settings["training"].pop("folder")
            say("training", train(folder and Path(folder), devices=jax.device_count(), **settings["training"]))
        jax.distributed.shutdown()
    except CannotRun as error:
        leave(str(error), 2)
    except Exception as error:
        lost = isinstance(error, jax.errors.JaxRuntimeError) and PEER.search(str(error)) and settings["processes"] != 1
        # said once for each function that passes it on
        words = str(error).replace("Error dispatching computation: ", "").strip()
        first = f"{type(error).__name__}: {next(iter(words.splitlines()), '')[:300]}"
        leave(f"{LOST}: {first}" if lost else first, 3 if lost else 1)


def of_the_first(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what the first process was told to do."""
    from jax.experimental import multihost_utils

    names = ("begun_with", "forms", "placements", "rounds", "prediction", "training")
    text = np.frombuffer(json.dumps({name: settings[name] for name in names}).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    # processes send arrays of one size
    sent = multihost_utils.broadcast_one_to_all(np.resize(text, size))
    return dict(json.loads(np.asarray(sent).astype(np.uint8).tobytes()))


def check_place(begun: list[int] | None) -> None:
    """Refuse to go on with a run of other processes or devices, whose numbers would stand beside those from here.

    Raises:
        CannotRun: If they are others.
    """
    here = [jax.process_count(), jax.device_count()]
    if begun and begun != here:
        there, now = ("{} processes with {} devices in all".format(*one) for one in (begun, here))
        message = f"--resume: --out holds a run of {there}, and here are {now}; start as many, or name a new folder"
        raise CannotRun(message)


def say(kind: str, found: dict[str, Any]) -> None:
    """Tell the process that has started this one."""
    if jax.process_index() == 0:
        print(json.dumps({kind: found}), flush=True)


def leave(message: str, code: int) -> NoReturn:
    """End with one line, and without JAX's end of a run, which waits for processes that are gone."""
    sys.stdout.flush()
    print(f"bench.scale: {message}", file=sys.stderr, flush=True)
    os._exit(code)


def configure(settings: dict[str, Any]) -> None:
    """Set up JAX, and join the other processes.

    Args:
        settings: ``local`` CPU devices of this process; ``processes``; ``time_out`` in seconds; ``address`` and
            ``index`` where this machine is all there is, and neither where a cluster says them; ``detection``, how.
    """
    jax.config.update("jax_enable_x64", True)
    # a form in float64 is compared to 1e-12; training in float32 is to be the same on any machine of one kind
    jax.config.update("jax_default_matmul_precision", "highest")
    if settings["local"]:
        jax.config.update("jax_num_cpu_devices", settings["local"])
    if settings["processes"] == 1:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    seconds = max(1, round(settings["time_out"]))
    limits: Any = {
        "initialization_timeout": seconds,
        "heartbeat_timeout_seconds": seconds,
        "shutdown_timeout_seconds": seconds,
    }
    if settings["address"]:
        # on loopback alone: nothing of this machine is open to others
        place: Any = {"coordinator_address": settings["address"], "coordinator_bind_address": settings["address"]}
        jax.distributed.initialize(
            num_processes=settings["processes"],
            process_id=settings["index"],
            cluster_detection_method="deactivate",
            **place,
            **limits,
        )
        return
    try:
        jax.distributed.initialize(cluster_detection_method=settings["detection"], **limits)
    except ValueError as error:
        # that of JAX says that an argument is missing, which nobody here has left out
        message = f"JAX's detection of the cluster finds no {settings['detection'] or 'address'} here: {error}"
        raise CannotRun(message) from error


def of_form(form: Form, placement: str, devices: int, rounds: int) -> dict[str, Any]:
    """Compute a form on some devices, compare it with one device's, count what goes between them, and time it.

    Raises:
        DisagreementError: If the numbers differ.
    """
    alive(f"{form.name} on {devices} devices, {placement}")
    inputs = form.inputs(form.count)
    alone = jax.jit(form.alone)
    want = jax.device_get(alone(*inputs))
    alive()
    mesh = mesh_of(chosen_devices(devices), "Explicit" in placement)
    padded = form.padded(inputs, devices)
    run, given = program(form, placement, mesh, padded)
    compiled = run.lower(*given).compile()
    alive()
    got = form.read(whole(compiled(*given), mesh), form.count)
    error = largest(worst(compare(got, want)).error)
    if not error <= TOLERANCE:
        message = (
            f"{form.name} on {devices} devices of {jax.process_count()} processes ({placement}) differs from one"
            f" device's by {error:.2g}, more than {TOLERANCE:g}"
        )
        raise DisagreementError(message)
    # the one device of a process that has several shares the cores with nobody meanwhile
    samples = {"seconds": sampled(compiled, given, rounds), "alone_seconds": sampled(alone, inputs, rounds)}
    return {
        "form": form.name,
        "placement": placement,
        "processes": jax.process_count(),
        "devices": devices,
        "device_kind": mesh.devices.flat[0].device_kind,
        "examples": form.count,
        "error": error,
        **described(compiled),
        "gradient_bytes": gradient_bytes(inputs[0]),
        **samples,
    }


def largest(number: float) -> float:
    """Return the largest of the processes' numbers; a NaN is the largest of all."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return float(np.max(multihost_utils.process_allgather(np.float64(number))))


def sampled(function: Any, given: tuple[Any, ...], rounds: int) -> list[float]:
    """Return the median and the quartiles of a call's seconds."""
    samples = []
    for _ in range(WARM + rounds):
        samples.append(clocked(lambda: function(*given))[0])
        alive()
    samples = samples[WARM:]
    low, middle, high = statistics.quantiles(samples, n=4) if rounds > 1 else samples * 3
    return [middle, low, high]


if __name__ == "__main__":
    main()

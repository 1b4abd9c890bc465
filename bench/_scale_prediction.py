"""What `jax.experimental.roofline` foretells for more devices than there are: FLOPs and bytes of one of them.

Nothing runs: a form is traced in `jax.shard_map` over a mesh of abstract devices, with as many examples a device as on
one, so that what a device computes stays and what it sends is what grows. What has no rule there is named, with how
often it stands in the program.
"""

import collections
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental.roofline import roofline
from jax.sharding import AbstractMesh, AxisType

from bench._scale_forms import AXIS, FORMS, Form, gradient_bytes
from bench._scale_layout import specs_of

__all__ = ["CEILINGS", "DEVICES", "prediction", "predictions"]

DEVICES = (1, 8, 64, 256)
EACH = 64
"""Examples of a device."""

CEILINGS = {"flops": 1.97e14, "hbm_bytes": 8.1e11, "ici_bytes": 4.5e10}
"""What a device does in a second, as Austin et al. (2025), How to scale your model, chapter 2, gives it for a TPU v5e:
products of bfloat16, bytes of its memory, bytes over one link one way. They are from there and not measured here."""

NO_RULE = re.compile(r"No roofline rule for (\w+)")


def predictions(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Foretell each of some forms on each number of devices; those for `jax.jit` alone are left out.

    There the compiler chooses what is sent, and roofline, which reads the program before it, sees nothing of it.
    """
    for name in names:
        if "shard_map" in FORMS[name].placements:
            for devices in DEVICES:
                yield prediction(FORMS[name], devices)


def prediction(form: Form, devices: int) -> dict[str, Any]:
    """Foretell one form on a number of devices."""
    padded = form.padded(form.inputs(EACH * devices), devices)
    specs, out = specs_of(form, padded, devices)
    mesh = AbstractMesh((devices,), (AXIS,), axis_types=(AxisType.Auto,))
    whole = [jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), part) for part in padded]

    def device(*args: Any) -> Any:
        return form.call(*args, axis_name=AXIS)

    heard = _Heard()
    log = logging.getLogger("absl")
    before = log.level, log.propagate
    log.addHandler(heard)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        _, found = roofline(device, mesh=mesh, in_specs=specs, out_specs=out)(*whole)
    finally:
        log.removeHandler(heard)
        log.setLevel(before[0])
        log.propagate = before[1]
    counts = {
        "flops": found.flops,
        "hbm_bytes": found.hbm_bytes,
        "ici_bytes": sum(found.ici_bytes.values()),
    }
    sent = 2 * (devices - 1) / devices * gradient_bytes(padded[0])
    busy = max(counts[name] / CEILINGS[name] for name in ("flops", "hbm_bytes"))
    return {
        "form": form.name,
        "devices": devices,
        "examples_each": EACH,
        **counts,
        # of one all-reduce around a ring: roofline drops what a leaf of fewer numbers than devices sends
        "ring_bytes": sent,
        "peak_hbm_bytes": found.peak_hbm_bytes,
        # nothing overlaps: a device sends when it has computed; where a loop is counted once, at least this
        "efficiency": busy / (busy + sent / CEILINGS["ici_bytes"]),
        "not_counted": dict(sorted(heard.names.items())),
        "loops_counted_once": loops_of(device, mesh, specs, out, whole),
    }


class _Heard(logging.Handler):
    """Counts what roofline says that it has no rule for."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.names: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a message."""
        self.names.update(NO_RULE.findall(record.getMessage()))


def loops_of(device: Any, mesh: Any, specs: Any, out: Any, whole: Any) -> list[int]:
    """Return the lengths of the loops whose bodies roofline counts once."""
    mapped = jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=out)
    found: list[int] = []

    def visit(jaxpr: Any) -> None:
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            if equation.primitive.name == "scan":
                found.append(int(equation.params["length"]))
            # where roofline looks too
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            if inner is not None:
                visit(inner)

    visit(jax.make_jaxpr(mapped)(*whole))
    return sorted(length for length in found if length > 1)

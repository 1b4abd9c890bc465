"""What `jax.experimental.roofline` foretells for more devices than there are: FLOPs and bytes of one of them.

Nothing runs: a form is traced in `jax.shard_map` over a mesh of abstract devices, with as many examples a device as on
one, so that what a device computes stays and what it sends is what grows. What is not counted is named, with how often
it stands in the program.
"""

import collections
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.experimental.roofline import roofline
from jax.sharding import AbstractMesh, AxisType

from bench._scale_forms import AXIS, FORMS, Form, gradient_bytes
from bench._scale_layout import specs_of
from jaxgrad.fit._loggers import quiet

__all__ = ["CEILINGS", "DEVICES", "prediction", "predictions"]

DEVICES = (1, 8, 64, 256)
EACH = 64
"""Examples of a device."""

CEILINGS = {"flops": 1.97e14, "hbm_bytes": 8.1e11, "ici_bytes": 4.5e10}
"""What a device does in a second, as Austin et al. (2025), How to scale your model, chapter 2, gives it for a TPU v5e:
products of bfloat16, bytes of its memory, bytes over one link one way. They are from there and not measured here."""

ROOFLINE = "jax.experimental.roofline.roofline"
"""The module behind the function of that name."""

ZERO = "register_standard_roofline"
"""Where the rule comes from that says zero."""

# fmt: off
LAYOUT = frozenset({
    "axis_index", "broadcast_in_dim", "concatenate", "convert_element_type", "copy",
    "dynamic_slice", "dynamic_update_slice", "expand_dims", "iota", "name",
    "pad", "pvary", "reshape", "rev", "slice",
    "split", "squeeze", "stack", "stop_gradient", "transpose",
    "unstack",
})
# fmt: on
"""Primitives without arithmetic: that they take nothing is right but for the bytes that they may move."""


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

    # a page for each equation that it skips: JAX 0.10 logs by absl, later versions by the module's name
    with quiet("absl", ROOFLINE):
        _, found = roofline(device, mesh=mesh, in_specs=specs, out_specs=out)(*whole)
    missing, loops = left_out(jax.make_jaxpr(jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=out))(*whole))
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
        # of one all-reduce around a ring: roofline drops what a leaf of fewer bytes than devices sends
        "ring_bytes": sent,
        "peak_hbm_bytes": found.peak_hbm_bytes,
        # nothing overlaps: a device sends when it has computed; where a loop is counted once, at least this
        "efficiency": busy / (busy + sent / CEILINGS["ici_bytes"]),
        "not_counted": missing,
        "loops_counted_once": loops,
    }


def left_out(jaxpr: Any) -> tuple[dict[str, int], list[int]]:
    """Return what roofline takes for nothing, with how often it stands there, and the turns of loops counted once.

    It looks into equations that hold one jaxpr. For every primitive of `jax.lax` that has no rule of its own there is
    one that says zero, silently: branches and sorts are counted so.
    """
    rules = getattr(sys.modules[ROOFLINE], "_rooflines", {})
    missing: collections.Counter[str] = collections.Counter()
    loops: list[int] = []

    def visit(jaxpr: Any) -> None:
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            name, inner = equation.primitive.name, equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            if name == "scan":
                loops.append(int(equation.params["length"]))
            if inner is not None:
                visit(inner)
            elif name not in LAYOUT and ZERO in getattr(rules.get(equation.primitive), "__qualname__", ZERO):
                missing[name] += 1

    visit(jaxpr)
    return dict(sorted(missing.items())), sorted(length for length in loops if length > 1)

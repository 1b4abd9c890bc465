"""A form on a mesh: its inputs laid over the devices, its program, and what goes between them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bench._phases import collectives
from bench._scale_forms import AXIS, Form

__all__ = ["chosen_devices", "described", "mesh_of", "program", "put", "specs_of", "whole"]


def chosen_devices(count: int) -> list[Any]:
    """Return devices, as many of each process: with two processes the first four are two of the one, two of the other.

    Raises:
        ValueError: If there are fewer, or the processes do not divide them.
    """
    groups: dict[int, list[Any]] = {}
    for device in jax.devices():
        groups.setdefault(device.process_index, []).append(device)
    each = count // len(groups)
    if each * len(groups) != count or any(len(group) < each for group in groups.values()):
        message = f"{count} devices cannot be taken evenly from {len(groups)} processes with {jax.device_count()}"
        raise ValueError(message)
    return [device for _, group in sorted(groups.items()) for device in group[:each]]


def mesh_of(devices: Sequence[Any], explicit: bool = False) -> Mesh:
    """Return a mesh of one axis."""
    kind = AxisType.Explicit if explicit else AxisType.Auto
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(kind,))


def specs_of(form: Form, padded: tuple[Any, ...], devices: int) -> tuple[tuple[Any, ...], Any]:
    """Return where arguments and result lie, a tree of specs for each."""
    specs = [spec(leaf, devices) if callable(spec) else spec for spec, leaf in zip(form.specs, padded, strict=True)]
    out = form.out_specs(padded[0], devices) if callable(form.out_specs) else form.out_specs
    return tuple(specs), out


def put(tree: Any, spec: Any, mesh: Mesh) -> Any:
    """Lay arrays of NumPy over a mesh, which may have devices of other processes; every process has the whole."""

    def one(spec: Any, part: Any) -> Any:
        place = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.make_array_from_callback(np.shape(leaf), place, lambda i: np.asarray(leaf)[i]), part
        )

    return jax.tree.map(one, spec, tree, is_leaf=lambda spec: isinstance(spec, P))


def program(form: Form, placement: str, mesh: Mesh, padded: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return the jitted function of a form on a mesh, and its arguments there."""
    specs, out = specs_of(form, padded, mesh.size)
    given = tuple(put(leaf, spec, mesh) for leaf, spec in zip(padded, specs, strict=True))
    if placement == "shard_map":

        def device(*args: Any) -> Any:
            return form.call(*args, axis_name=AXIS)

        return jax.jit(jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=out)), given
    # with Explicit axes the arguments say where the result lies
    place = jax.tree.map(lambda spec: NamedSharding(mesh, spec), out, is_leaf=lambda spec: isinstance(spec, P))
    return jax.jit(form.call, out_shardings=place), given


def described(compiled: Any) -> dict[str, Any]:
    """Return what a compiled form sends, by kinds of collectives, and the bytes of its arguments on each device."""
    memory = compiled.memory_analysis()
    return {
        "collectives": {
            kind: {"count": len(sizes), "bytes": sum(sizes)} for kind, sizes in collectives(compiled.as_text()).items()
        },
        "argument_bytes": getattr(memory, "argument_size_in_bytes", None),
    }


def whole(tree: Any, mesh: Mesh) -> Any:
    """Return a result as arrays of NumPy, whole on every process."""
    gathered = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))(tree)
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), gathered)

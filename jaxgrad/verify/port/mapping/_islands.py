"""Float32 islands of both sides, settled before the float64 stage judges: what is rounded there is not the definition.

Casts and creations inside of the programs are computed in float64 (`_lift_jax`, `_lift_torch`). A table that one side
made in float32 before cannot be: where the other side has the same table, to the rounding that it shows itself, it
stands for both. A table with another definition is left as it is, and found.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge import size
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.judge._tolerances import F32_UNIT, OFF_BY_AN_ISLAND
from jaxgrad.verify.port.frameworks import _lift_jax
from jaxgrad.verify.port.frameworks._recorded import CallOutline, noting
from jaxgrad.verify.port.mapping._model_pair import Islands, ModelPair

__all__ = ["find_islands"]


def find_islands(pair: ModelPair) -> ModelPair:
    """Return a pair that knows its islands, with either side's tables that are the same as the same numbers."""
    if pair.islands is not None:
        return pair
    try:
        return _found(pair)
    except Exception as error:  # a model that fails in float64 fails again where its quantities are told
        notes = (f"float32 islands were not looked for: {first_line(error)}",)
        return dataclasses.replace(pair, islands=Islands(notes=notes))


def _found(pair: ModelPair) -> ModelPair:
    """Find the islands, and settle the tables of both sides."""
    casts, made = pair.torch.islands(pair.batch)
    notes = [f"torch computes in float32 at {path or 'the model itself'} ({name}): judged in float64"
             for path, name in casts.items()]  # fmt: skip
    program, calls = _program(pair)
    rounded = _lift_jax.rounded(program)
    theirs, told = _torch_tables(pair, program, rounded)
    known, more = _jax_tables(rounded, made)
    alone = () if casts else tuple(_lift_jax.narrow_lines(program))
    islands = Islands(bool(casts), known, (*notes, *told, *more), alone, tuple(calls))
    return dataclasses.replace(pair, torch=pair.torch.with_tables(theirs), islands=islands)


def _program(pair: ModelPair) -> tuple[Any, list[CallOutline]]:
    """Return the program of the JAX model's outputs in float64, and the calls of its layers."""
    params, rest = pair.weights("float64")
    inputs, _ = pair.torch.parts.split(pair.adapt(*pair.data("float64")))

    def trace(calls: list[CallOutline] | None) -> Any:
        def forward(params: Any, rest: Any, *inputs: Any) -> Any:
            watch = None if calls is None else noting(calls)
            return jax.tree.leaves(pair.jax.apply(params, rest, *inputs, watch=watch)[0])

        return _lift_jax.trace(forward, (params, rest, *inputs))

    calls: list[CallOutline] = []
    try:
        return trace(calls), calls
    except Exception:  # a model that cannot be watched has islands all the same
        return trace(None), []


def _torch_tables(pair: ModelPair, program: Any, rounded: list[np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return torch's float32 tables as JAX has them in float64, and a note of each."""
    held = pair.torch.tables(_taken(pair))
    candidates = _lift_jax.tables(program) if held else []
    candidates += [_lift_jax.Table(array, array.astype(_wide(array))) for array in (*rounded, *_own(pair))]
    found, notes = {}, []
    for name, values in held.items():
        settled = _settled(values, candidates)
        if settled is not None:
            found[name] = settled
            off = size(settled - values) / max(size(values) * F32_UNIT, np.finfo(float).tiny)
            # a mask of zeros and minus infinity is rounded nowhere: there is nothing to tell
            if off:
                notes.append(f"torch holds {name} in float32, {off:.2g} roundings off: taken as JAX's in float64")
    return found, notes


def _jax_tables(rounded: list[np.ndarray], made: list[np.ndarray]) -> tuple[dict[Any, np.ndarray], list[str]]:
    """Return JAX's float32 constants as torch makes them in float64, and a note of each."""
    known, notes = _numbers([x for x in made if not x.ndim]), []
    made = [x for x in made if x.ndim]
    for array in rounded:
        options = [_lift_jax.Table(x.astype(array.dtype), x) for x in made]
        found = _settled(array.astype(_wide(array)), options)
        if found is not None and found.any() and not np.array_equal(found, array):
            known[_lift_jax.key_of(array)] = found
            notes.append(f"JAX holds a table of shape {array.shape} in float32: judged as torch's in float64")
    return known, notes


def _numbers(given: list[np.ndarray]) -> dict[Any, np.ndarray]:
    """Return torch's numbers by the float32 that JAX's program holds of them, or of their reciprocals or negatives."""
    with np.errstate(all="ignore"):
        forms = [form for x in given if x for form in (1 / x, -1 / x, x, -x)]
        narrow = [(np.float32(form), form) for form in forms]
    return {
        _lift_jax.key_of(short): np.asarray(form)
        for short, form in narrow
        if np.isfinite(short) and short and short != form
    }


def _wide(array: np.ndarray) -> Any:
    """Return the dtype in which an array is judged."""
    return np.complex128 if np.iscomplexobj(array) else np.float64


def _taken(pair: ModelPair) -> set[str]:
    """Return the torch tensors that the mapping carries to JAX: these are the same on both sides."""
    return {key for entry in pair.mapping.entries for key in entry.torch}


def _own(pair: ModelPair) -> list[np.ndarray]:
    """Return JAX's own float32 arrays that no torch tensor fills."""
    filled = {entry.jax for entry in pair.mapping.entries}
    leaves = {path: x for path, x in flatten(pair.jax.rest).items() if path not in filled and hasattr(x, "dtype")}
    arrays = [np.asarray(x) for x in leaves.values() if x.dtype in _lift_jax.WIDER]
    return [x for x in arrays if x.size > 1]


def _settled(held: np.ndarray, tables: list[_lift_jax.Table]) -> np.ndarray | None:
    """Return a rounded table as the other side has it in float64, or ``None`` if it has none like it.

    The other side may use the first positions only, may keep the real and the imaginary part apart, and may have the
    columns once where they are repeated here.
    """
    if np.iscomplexobj(held):
        whole = _settled_real(held, [t for t in tables if np.iscomplexobj(t.wide)])
        real, imaginary = (_settled(part, tables) for part in (held.real, held.imag))
        return whole if whole is not None or real is None or imaginary is None else real + 1j * imaginary
    return _settled_real(held, [t for t in tables if not np.iscomplexobj(t.wide)])


def _settled_real(held: np.ndarray, tables: list[_lift_jax.Table]) -> np.ndarray | None:
    """Settle a table column by column."""
    for blocks in (1, 2):
        if held.ndim == 0 or held.shape[-1] % blocks:
            continue
        width = held.shape[-1] // blocks
        for columns in ([slice(i * width, (i + 1) * width) for i in range(blocks)],
                        [slice(i, None, blocks) for i in range(blocks)]):  # fmt: skip
            found = held.copy()
            parts = [_nearest(held[..., part], tables) for part in columns]
            if all(part is not None for part in parts):
                for part, values in zip(columns, parts, strict=True):
                    found[..., part] = values
                return found
    return None


def _nearest(held: np.ndarray, tables: list[_lift_jax.Table]) -> np.ndarray | None:
    """Return a table with its first rows as the closest of the others has them, if that is close enough."""
    best, least = None, np.inf
    for table in tables:
        theirs, narrow = np.squeeze(table.wide), np.squeeze(table.narrow).astype(table.wide.dtype)
        ours = np.squeeze(held)
        if not theirs.ndim or theirs.shape[1:] != ours.shape[1:] or len(theirs) > len(ours):
            continue
        rows = ours[: len(theirs)]
        # a table shows how much it is rounded: by a unit, and by as much as its own steps in float32 lose
        allowed = OFF_BY_AN_ISLAND * max(np.abs(narrow - theirs).max(), F32_UNIT * np.abs(theirs).max())
        off = float(np.abs(rows - theirs).max())
        if off <= allowed and off < least:
            best, least = np.concatenate([theirs, ours[len(theirs) :]]).reshape(held.shape), off
    return best

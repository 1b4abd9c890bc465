"""The arrays of a model's output by name, whatever either framework packs them in: tuples, dicts, dataclasses."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["exchange", "is_floating", "main", "main_array", "named", "renamed", "replace_main"]

FIRST_OF_ALL = ("logits", "last_hidden_state", "sample", "prediction", "output", "out")
"""Names that mark the main array of an output with names; without one of them it is the first of the alphabet, for the
order in which names were written need not be that of the other framework."""


def named(output: Any) -> dict[str, Any]:
    """Return the arrays and numbers of an output: ``output.logits``, ``output[0]``; a single one is ``output``."""
    found = dict(_walk(output, "output"))
    return {"output": next(iter(found.values()))} if len(found) == 1 else found


def main(output: Any) -> Any:
    """Return the floating-point array that stands for an output, or ``None`` if there is none."""
    if _is_array(output):
        return output if is_floating(output) else None
    parts = _parts(output) or {}
    if not isinstance(output, tuple | list) or hasattr(output, "_fields"):
        parts = dict(sorted(parts.items(), key=lambda item: _rank(item[0])))
    return next((array for part in parts.values() if (array := main(part)) is not None), None)


def main_array(output: Any) -> Any:
    """Return the array that stands for an output of JAX; of a recurrent cell's ``(carry, y)`` the last."""
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], tuple):
        return output[1] if is_floating(output[1]) else None
    return main(output)


def replace_main(output: Any, array: Any) -> Any:
    """Return an output of JAX with its main array exchanged."""
    held = main_array(output)
    return exchange(output, lambda leaf: array if leaf is held else leaf)


def exchange(output: Any, fun: Callable[[Any], Any]) -> Any:
    """Return an output with every array replaced by what ``fun`` makes of it."""
    if _is_array(output):
        return fun(output)
    if isinstance(output, Mapping):
        held: Any = copy.copy(output) if hasattr(output, "__setitem__") else dict(output)
        held.update({key: exchange(part, fun) for key, part in output.items()})
        return held
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        made = copy.copy(output)
        for key, part in (_parts(output) or {}).items():
            object.__setattr__(made, key, exchange(part, fun))
        return made
    if isinstance(output, tuple | list):
        parts = [exchange(part, fun) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return jax.tree.map(lambda leaf: fun(leaf) if _is_array(leaf) else leaf, output)


def renamed(got: dict[str, Any], want: dict[str, Any]) -> dict[str, Any]:
    """Return one side's arrays under the other's names: by name where they share any, and else by their order."""
    if got.keys() & want.keys() or not got:
        return got
    names = [*want, *list(got)[len(want) :]]
    return dict(zip(names, got.values(), strict=False))


def is_floating(leaf: Any) -> bool:
    """Say whether an array of either framework holds real floating-point numbers."""
    if hasattr(leaf, "is_floating_point"):
        return leaf.is_floating_point()
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_array(value: Any) -> bool:
    """Say whether a value is an array of either framework."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _rank(name: str) -> tuple[int, str]:
    """Return where a name stands among those of an output."""
    return (FIRST_OF_ALL.index(name) if name in FIRST_OF_ALL else len(FIRST_OF_ALL)), name


def _parts(output: Any) -> dict[str, Any] | None:
    """Return what a container holds by name or number; ``None`` if it is none."""
    if isinstance(output, Mapping):
        return {str(key): part for key, part in output.items()}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if isinstance(output, tuple | list):
        return {str(i): part for i, part in enumerate(output)}
    leaves = jax.tree.leaves(output)
    return None if leaves == [] or leaves[0] is output else {str(i): leaf for i, leaf in enumerate(leaves)}


def _walk(output: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every array and number with its name."""
    if _is_array(output) or isinstance(output, bool | int | float | complex):
        yield name, output
        return
    numbered = isinstance(output, tuple | list) and not hasattr(output, "_fields")
    for key, part in (_parts(output) or {}).items():
        yield from _walk(part, f"{name}[{key}]" if numbered else f"{name}.{key}")

"""A JAX model whose layers are seen while it is applied: in which order they are called, and what they return."""

from collections.abc import Callable
from typing import Any

from jaxgrad.verify.port.frameworks._jax_model import Watch
from jaxgrad.verify.port.frameworks._outputs import is_floating, main_array, replace_main
from jaxgrad.verify.report._records import Slot

__all__ = ["CallCounter", "CallOutline", "Seen", "apply_recorded", "noting"]

CallOutline = tuple[Slot, tuple[int, ...] | None]
"""A call, and the shape of the array that it returns."""

Seen = tuple[dict[Slot, Any], dict[Slot, list[Any]]]
"""What every call returns, and what it is given."""


class CallCounter:
    """Numbers the calls of each module."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def next(self, path: str) -> Slot:
        """Return the slot of the next call of a module."""
        count = self.seen.get(path, 0)
        self.seen[path] = count + 1
        return path, count


def noting(found: list[CallOutline]) -> Watch:
    """Return a watch that notes every call in order, and changes nothing."""
    counter = CallCounter()

    def watch(path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        slot, place = counter.next(path), len(found)
        found.append((slot, None))
        output = call(*args, **kwargs)
        array = main_array(output)
        found[place] = (slot, None if array is None else array.shape)
        return output

    return watch


def apply_recorded(model: Any, params: Any, rest: Any, zeros: dict[Slot, Any], *inputs: Any) -> tuple[Any, Any, Seen]:
    """Apply a model with a zero added to the output of every call: the gradient with respect to it is its cotangent.

    Args:
        model: A `JaxModel`.
        params: Its parameters.
        rest: Its other collections.
        zeros: What is added, by call; empty where nothing is to be seen.
        *inputs: Its inputs.

    Returns:
        The output, the collections, and what was seen.
    """
    if not zeros:
        return *model.apply(params, rest, *inputs), ({}, {})
    counter = CallCounter()
    outputs: dict[Slot, Any] = {}
    arrived: dict[Slot, list[Any]] = {}

    def watch(path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        slot = counter.next(path)
        arrived[slot] = [a if is_floating(a) else None for a in args]
        output = call(*args, **kwargs)
        array = main_array(output)
        if array is None or slot not in zeros:
            return output
        outputs[slot] = array + zeros[slot].astype(array.dtype)
        return replace_main(output, outputs[slot])

    return *model.apply(params, rest, *inputs, watch=watch), (outputs, arrived)

"""Weight norm of torch's where the port holds the kernel that comes out of it."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxgrad.verify.port.mapping._search import Mapping

__all__ = ["folded", "layers_to_fold"]

MAGNITUDES = (".parametrizations.weight.original0", ".weight_g")
"""What torch calls the length of a kernel that it normalises, in its newer and its older form."""


def layers_to_fold(mapping: Mapping) -> list[str]:
    """Return the layers whose kernel has a place in the port, and its length has none: the port holds their product."""
    used = {key for entry in mapping.entries for key in entry.torch}
    found = []
    for key in mapping.unused:
        whole = f".{key}"
        for old, new in zip(MAGNITUDES, (".parametrizations.weight.original1", ".weight_v"), strict=True):
            if whole.endswith(old) and (whole.removesuffix(old) + new).removeprefix(".") in used:
                found.append(whole.removesuffix(old).removeprefix("."))
    return found


def folded(module: Any, layers: Sequence[str], copied: Callable[[Any], Any]) -> Any:
    """Return a copy of a torch module in which layers hold the kernel that weight norm makes.

    Args:
        module: The module, which is not changed.
        layers: The paths of the layers.
        copied: How a module is copied.
    """
    from torch.nn.utils import parametrize, remove_weight_norm

    plain = copied(module)
    for path in layers:
        layer = plain.get_submodule(path)
        if parametrize.is_parametrized(layer, "weight"):
            # torch keeps the property on a class that a copy shares, and takes it off there: off the user's layer too
            shared = type(layer)
            inside = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
            layer.__class__ = type(shared.__name__, shared.__bases__, inside)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        else:
            remove_weight_norm(layer)
    return plain

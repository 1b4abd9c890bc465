"""Packages whose parts are imported when they are first asked for: ``jaxgrad --help`` needs neither JAX nor Flax."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["door"]


def door(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: Its name.
        places: The module that defines each public name; a sub-package stands for itself.
    """

    def get(name: str) -> Any:
        """Import what was asked for, and keep it."""
        if name not in places:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        module = importlib.import_module(places[name])
        thing = module if places[name] == f"{package}.{name}" else getattr(module, name)
        vars(sys.modules[package])[name] = thing
        return thing

    def names() -> list[str]:
        """List what is there and what may be asked for."""
        return sorted({*vars(sys.modules[package]), *places})

    return get, names

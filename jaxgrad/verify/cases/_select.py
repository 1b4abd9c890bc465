"""Which cases there are, and which of them a list of patterns means."""

import importlib
import pkgutil
from collections.abc import Sequence

import jax
import numpy as np

from jaxgrad._natural import natural
from jaxgrad.verify._errors import missing
from jaxgrad.verify.cases import families
from jaxgrad.verify.cases._case import CASES, EXTENSIONS, Case, Criterion, Quantity
from jaxgrad.verify.cases._titles import chosen

__all__ = ["select"]


def select(patterns: str | Sequence[str] | None = None) -> list[Case]:
    """Return the built-in cases whose ids match.

    Args:
        patterns: Ids, or patterns of them such as ``N*``, in a list or separated by commas; small letters match
            too. ``None`` means every case.

    Returns:
        The cases in the order of their ids, each once.

    Raises:
        CannotRun: If a pattern matches no case.

    Cost:
        Imports the modules of the cases once; nothing is computed.

    Example:
        >>> from jaxgrad import verify
        >>> [case.id for case in verify.select("P*")]
        ['P1', 'P2', 'P3']

    References:
        The table of cases in the README.
    """
    known = _discover()
    return [known[name] for name in chosen(patterns, known)]


def _discover() -> dict[str, Case]:
    """Import every module of cases, and return the cases by id, in natural order."""
    broken = {}
    # a module may hold JAX constants, which must not lose their float64
    with jax.enable_x64(True):
        for module in pkgutil.iter_modules(families.__path__):
            try:
                importlib.import_module(f"{families.__name__}.{module.name}")
            except Exception as error:
                if line := missing(error):
                    raise line from None
                broken[module.name] = _broken(module.name, error)
    for name in EXTENSIONS.keys() - CASES.keys():
        broken[name] = _broken(name, ValueError(f"a module extends case {name}, which no module defines"))
    return dict(sorted((CASES | broken).items(), key=lambda item: natural(item[0])))


def _broken(module: str, error: Exception) -> Case:
    """Return a case that stands for a module that does not import, so that the run shows it."""

    def build(dtype: np.dtype) -> list[Quantity | Criterion]:  # noqa: ARG001
        raise error

    return Case(module, "a module of cases that does not import", build)

"""A pair from a Python file, for the command line."""

import inspect
import runpy
import sys
from pathlib import Path
from typing import Any

from jaxgrad.verify._errors import PairError, first_line
from jaxgrad.verify.port._bind import pair
from jaxgrad.verify.port._pair import Pair

__all__ = ["load_pair", "parts", "read_spec"]


def read_spec(path: str | Path) -> dict[str, Any]:
    """Run a spec file and return its ``spec``: the arguments of `pair`, or a function that returns them.

    Raises:
        PairError: If the file is missing, fails, or defines no ``spec``.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        message = f"the spec {path} {what}: give a Python file that defines spec = dict(torch=..., jax=..., ...)"
        raise PairError(message)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # as Python does for a script: a spec may import what lies beside it, now or when a model is made
        sys.path.insert(0, folder)
    try:
        names = runpy.run_path(str(path))
        spec = names.get("spec")
        spec = spec() if callable(spec) else spec
    except (Exception, SystemExit) as error:
        message = f"the spec {path} does not import: {first_line(error)}"
        raise PairError(message) from error
    if not isinstance(spec, dict):
        message = f"the spec {path} must define `spec`, a dict of the arguments of jaxgrad.verify.pair, or a function"
        raise PairError(message)
    return spec


def parts(path: str | Path, *names: str) -> dict[str, Any]:
    """Return the spec of a file with its models made, after refusing what it lacks.

    A model may be given as a function without arguments that makes it: only the sides that are needed are made, so
    that one spec serves two environments.

    Args:
        path: The file.
        *names: The entries that must be there.

    Raises:
        PairError: If the spec does not import, lacks an entry, or a model cannot be made.
    """
    spec = read_spec(path)
    missing = [name for name in names if spec.get(name) is None]
    if missing:
        message = f"the spec {path} gives no {', '.join(missing)}"
        raise PairError(message)
    for side in {"torch", "jax"} & set(names):
        if inspect.isfunction(spec[side]):
            try:
                spec = {**spec, side: spec[side]()}
            except Exception as error:
                message = f"the {side} model of the spec {path} cannot be made: {first_line(error)}"
                raise PairError(message) from error
    return spec


def load_pair(path: str | Path) -> Pair:
    """Return the pair of a spec file.

    Args:
        path: A Python file that defines ``spec``, the arguments of `pair` in a dict, or a function that returns them.

    Returns:
        The `Pair` of its two models.

    Raises:
        PairError: If it does not import, lacks an argument, or does not fit.

    Cost:
        That of the file, which is run, and of `pair`.

    Example:
        >>> from jaxgrad import verify
        >>> verify.load_pair("nowhere.py")
        Traceback (most recent call last):
        ...
        jaxgrad.verify._errors.PairError: the spec nowhere.py does not exist: ...

    References:
        ``docs/verify.md`` shows a spec.
    """
    spec = parts(path, "torch", "jax", "batch", "loss")
    try:
        return pair(**spec)
    except TypeError as error:
        message = f"the spec {path} does not fit: {error}"
        raise PairError(message) from error

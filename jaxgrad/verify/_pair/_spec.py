"""A pair from a Python file, for the command line."""

import runpy
from pathlib import Path
from typing import Any

from jaxgrad.verify._pair._pair import Pair, PairError, pair

__all__ = ["load", "read_spec"]


def read_spec(path: str | Path) -> dict[str, Any]:
    """Run a spec file and return its ``spec``: the arguments of `pair`, or a function that returns them.

    Raises:
        PairError: If the file is missing, fails, or defines no ``spec``.
    """
    path = Path(path)
    if not path.is_file():
        message = (
            f"the spec {path} does not exist: give a Python file that defines spec = dict(torch=..., jax=..., ...)"
        )
        raise PairError(message)
    try:
        names = runpy.run_path(str(path))
        spec = names.get("spec")
        spec = spec() if callable(spec) else spec
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        message = f"the spec {path} does not import: {type(error).__name__}: {lines[0] if lines else ''}"
        raise PairError(message) from error
    if isinstance(spec, Pair):
        return {"pair": spec}
    if not isinstance(spec, dict):
        message = f"the spec {path} must define `spec`, a dict of the arguments of jaxgrad.verify.pair, or a function"
        raise PairError(message)
    return spec


def load(path: str | Path) -> Pair:
    """Return the pair of a spec file.

    Raises:
        PairError: If it does not import, lacks an argument, or does not fit.
    """
    spec = read_spec(path)
    if "pair" in spec:
        return spec["pair"]
    missing = [name for name in ("torch", "jax", "batch", "loss") if spec.get(name) is None]
    if missing:
        message = f"the spec {path} gives no {', '.join(missing)}"
        raise PairError(message)
    try:
        return pair(**spec)
    except TypeError as error:
        message = f"the spec {path} does not fit: {error}"
        raise PairError(message) from error

"""What a fit came to, as JSON: settings, versions, seconds, losses and ratios."""

import datetime
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxgrad import __version__
from jaxgrad.verify import _files

__all__ = ["finite", "versions", "write_record"]


def versions() -> dict[str, str]:
    """Return the versions that the numbers depend on, and where they were computed."""
    import jax

    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-image")
    found = {"python": platform.python_version(), "jaxgrad": __version__}
    return found | {name: version(name) for name in packages} | {"device": str(jax.devices()[0].device_kind)}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record; whole or not at all.

    Raises:
        OSError: As the system gave it.
    """
    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps(finite({"date": date, **record}), indent=1, allow_nan=False)
    _files.write_atomically(path, lambda file: file.write(f"{text}\n".encode()))


def finite(value: Any) -> Any:
    """Return plain data in which what is infinite or NaN is ``None``, for JSON knows neither."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

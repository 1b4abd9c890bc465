"""The weights of a fit as a safetensors file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxgrad.verify import CannotRun, _files

__all__ = ["read_weights", "write_weights"]


def write_weights(path: Path, arrays: dict[str, Any], about: dict[str, Any]) -> None:
    """Write named arrays and what they belong to; whole or not at all.

    Raises:
        OSError: As the system gave it.
    """
    from safetensors.numpy import save

    # safetensors writes the memory as it lies: a transposed view would come back scrambled
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = save(whole, metadata={"jaxgrad": json.dumps(about, sort_keys=True)})
    _files.write_atomically(path, lambda file: file.write(data))


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of a file, and what they belong to.

    Raises:
        CannotRun: If it is missing or is no file of a fit.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        message = f"there is no file {path}"
        raise CannotRun(message)
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(dict(file.metadata() or {})["jaxgrad"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - no mapping
    except KeyError:
        message = f"{path} was not written by jaxgrad fit"
    except (SafetensorError, ValueError, OSError) as error:
        message = f"{path} cannot be read: {str(error).splitlines()[0]}"
    raise CannotRun(message)

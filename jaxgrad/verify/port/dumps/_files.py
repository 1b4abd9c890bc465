"""Runs on disk: one framework's numbers, to be compared in another environment.

A run is a folder with ``tensors.safetensors`` and ``run.json``. Tensors are named ``t0``, ``t1``, ...; the paths of
leaves stand in the JSON alone, so that no name ever becomes a path. Every array and the tensor file itself are
checksummed. Nothing is unpickled.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgrad.verify._files import make_folder, write_together

__all__ = ["DumpError", "read_run", "write_run"]

FORMAT = 2
TENSORS, MANIFEST = "tensors.safetensors", "run.json"
MAX_MANIFEST = 256 * 2**20
MAX_HEADER = 100 * 2**20
DTYPES = frozenset({"float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint32", "bool"})


class DumpError(ValueError):
    """A run that cannot be read, or is not what was written."""


def write_run(folder: str | Path, groups: Mapping[str, Mapping[str, Any]], meta: Mapping[str, Any]) -> None:
    """Write named groups of arrays, each by leaf path.

    Args:
        folder: Made if it is missing.
        groups: ``{"gradient@float64": {"fc/weight": array, ...}, ...}``.
        meta: Plain data kept beside them: the framework, versions, flags, how the directions were drawn.

    Raises:
        OSError: If the disk refuses; an older run in the folder stays whole.
        TypeError: If an array holds Python objects.

    Cost:
        The size of the arrays in memory once more, and on disk.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from jaxgrad import verify
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verify.write_run(folder, {"value@float64": {"loss": np.ones(2)}}, {"side": "torch"})
        ...     verify.read_run(folder)
        ({'value@float64': {'loss': array([1., 1.])}}, {'side': 'torch'})

    References:
        The tensors are those of safetensors, https://github.com/huggingface/safetensors.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    make_folder(folder)
    tensors: dict[str, np.ndarray] = {}
    manifest: dict[str, Any] = {"format": FORMAT, "meta": dict(meta), "groups": {}}
    for group, leaves in groups.items():
        rows = manifest["groups"][group] = []
        for path, leaf in leaves.items():
            array, name = _plain(leaf, path), f"t{len(tensors)}"
            tensors[name] = array
            rows.append({"path": path, "tensor": name, "sha256": _digest(array)})
    data = save(tensors)
    manifest["tensors_sha256"] = hashlib.sha256(data).hexdigest()
    text = json.dumps({**manifest, "sha256": _own_digest(manifest)}, allow_nan=False, indent=1).encode()
    # the manifest is checked against the tensors, so a crash between the two moves is noticed and never misread
    write_together({folder / TENSORS: lambda file: file.write(data), folder / MANIFEST: lambda file: file.write(text)})


def _own_digest(manifest: Mapping[str, Any]) -> str:
    """Return a checksum of what a manifest says, however it is spaced."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _plain(leaf: Any, path: str) -> np.ndarray:
    """Return a contiguous array of a dtype that NumPy knows; bfloat16 is widened, which loses nothing."""
    array = np.asarray(leaf)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.name not in DTYPES:
        message = f"{path}: cannot write an array of {array.dtype} to a run"
        raise TypeError(message)
    return np.ascontiguousarray(array).reshape(array.shape)


def _digest(array: np.ndarray) -> str:
    """Return a checksum of an array's dtype, shape and bytes."""
    head = f"{array.dtype.name}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def read_run(folder: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Read a run back, and refuse whatever is not exactly what `write_run` wrote.

    Args:
        folder: The folder of the run.

    Returns:
        The groups of arrays by path, and the plain data beside them.

    Raises:
        DumpError: If a file is missing, cut short, changed by a bit, of another format, or not a tensor file.

    Cost:
        Reads both files and takes their checksums; nothing is unpickled.

    Example:
        >>> from jaxgrad import verify
        >>> verify.read_run("nowhere")
        Traceback (most recent call last):
        ...
        jaxgrad.verify.port.dumps._files.DumpError: nowhere/run.json is missing: ...

    References:
        The format is that of `write_run`.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    data = _file(folder / TENSORS, None)
    _check_header(data, folder / TENSORS)
    if hashlib.sha256(data).hexdigest() != manifest["tensors_sha256"]:
        message = f"{folder / TENSORS} is not the file that was written with {MANIFEST}: its checksum differs"
        raise DumpError(message)
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        message = f"{folder / TENSORS} is not a safetensors file: {error}"
        raise DumpError(message) from None
    try:
        groups = {
            group: {row["path"]: _checked(tensors, row, folder) for row in rows}
            for group, rows in manifest["groups"].items()
        }
    except (AttributeError, TypeError, KeyError) as error:
        message = f"{folder / MANIFEST} is damaged: {error}"
        raise DumpError(message) from None
    return groups, manifest["meta"]


def _checked(tensors: dict[str, np.ndarray], row: Any, folder: Path) -> np.ndarray:
    """Return one array after its own checksum."""
    if _digest(tensors[row["tensor"]]) != row["sha256"]:
        message = f"{folder}: the array of {row['path']} is not the one that was written: its checksum differs"
        raise DumpError(message)
    return tensors[row["tensor"]]


def _file(path: Path, limit: int | None) -> bytes:
    """Read a whole regular file."""
    try:
        if not path.is_file():
            message = f"{path} is missing: is {path.parent} a run of `jaxgrad dump`?"
            raise DumpError(message)
        if limit is not None and path.stat().st_size > limit:
            message = f"{path} has {path.stat().st_size} bytes, more than a manifest can have"
            raise DumpError(message)
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise DumpError(message) from None


def _manifest(folder: Path) -> dict[str, Any]:
    """Read and check the JSON of a run."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(_file(path, MAX_MANIFEST), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        message = str(error) if isinstance(error, DumpError) else f"{path} is not valid JSON: {error}"
        raise DumpError(message) from None
    wanted = {"format", "meta", "groups", "tensors_sha256"}
    whole = isinstance(manifest, dict) and wanted <= manifest.keys()
    if not whole or not all(isinstance(manifest[part], dict) for part in ("groups", "meta")):
        message = f"{path} is not the manifest of a run: it needs {', '.join(sorted(wanted))}"
        raise DumpError(message)
    if manifest["format"] != FORMAT:
        message = f"{path} has format {manifest['format']!r}; this version reads format {FORMAT}"
        raise DumpError(message)
    if manifest.get("sha256") != _own_digest(manifest):
        message = f"{path} is not what was written: its checksum differs"
        raise DumpError(message)
    return manifest


def _no_constant(name: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    message = f"{name} is no JSON number"
    raise ValueError(message)


def _check_header(data: bytes, path: Path) -> None:
    """Refuse a header that claims more than the file holds, before any library reads it."""
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else -1
    if not 2 <= size <= min(MAX_HEADER, len(data) - 8) or data[8:9] != b"{":
        message = f"{path} is cut short, or no safetensors file: its header does not fit"
        raise DumpError(message)
    try:
        header = json.loads(data[8 : 8 + size])
        spans = [entry for name, entry in header.items() if name != "__metadata__"]
        held = all(
            0 <= e["data_offsets"][0] <= e["data_offsets"][1] <= len(data) - 8 - size
            and all(isinstance(n, int) and n >= 0 for n in e["shape"])
            and math.prod(e["shape"]) <= 8 * len(data)
            for e in spans
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        held = False
    if not held:
        message = f"{path} is cut short or hostile: its header names bytes that it does not hold"
        raise DumpError(message)

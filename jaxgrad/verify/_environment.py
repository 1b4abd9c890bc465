"""What is installed here and how it computes: the first question when two runs differ."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

__all__ = ["doctor"]

PACKAGES = ("jaxgrad", "jax", "jaxlib", "flax", "optax", "numpy", "ml_dtypes", "torch", "safetensors", "typer", "rich")


def doctor() -> dict[str, Any]:
    """Read versions, precision flags and devices of both frameworks.

    Returns:
        Plain data: ``versions`` (``None`` where a package is missing), ``jax``, ``torch``, and ``notes``, a list of
        sentences on what makes results differ here.

    Cost:
        Imports torch where it is installed.

    Example:
        >>> from jaxgrad import verify
        >>> sorted(verify.doctor())
        ['jax', 'notes', 'torch', 'versions']

    References:
        The settings are those that ``jax.config`` and ``torch.backends`` document.
    """
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    report: dict[str, Any] = {"versions": versions, "jax": _jax_facts(), "torch": None}
    if versions["torch"] is not None:
        try:
            report["torch"] = _torch_facts()
        except ImportError as error:
            versions["torch"] = f"{versions['torch']} (does not import: {error})"
    report["notes"] = _notes(report)
    return report


def _version(name: str) -> str | None:
    """Return an installed package's version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _jax_facts() -> dict[str, Any]:
    """Return JAX's devices and the settings that change numbers."""
    settings = {
        name: getattr(jax.config, name)
        for name in ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_debug_nans")
    }
    environment = {name: os.environ[name] for name in ("XLA_FLAGS", "JAX_PLATFORMS") if name in os.environ}
    devices = [f"{device.platform}:{device.device_kind}" for device in jax.devices()]
    return {"backend": jax.default_backend(), "devices": devices, **settings, "environment": environment}


def _torch_facts() -> dict[str, Any]:
    """Return torch's devices and the settings that change numbers."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else ["cpu"],
        "threads": torch.get_num_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_conv_fp32": str(getattr(torch.backends.cudnn.conv, "fp32_precision", "unknown")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _notes(report: dict[str, Any]) -> list[str]:
    """Say in sentences what of this makes the frameworks' numbers differ."""
    notes = []
    ours, theirs = report["jax"], report["torch"]
    if not ours["jax_enable_x64"]:
        notes.append(
            "x64 is off: JAX turns float64 into float32 without a word. `jaxgrad check` turns it on for itself."
        )
    if ours["backend"] == "gpu" and ours["jax_default_matmul_precision"] not in ("highest", "float32"):
        notes.append(
            "JAX multiplies float32 matrices in TF32 on this GPU:"
            ' jax.config.update("jax_default_matmul_precision", "highest")'
        )
    if ours["backend"] == "tpu" and ours["jax_default_matmul_precision"] not in ("highest", "float32"):
        notes.append("JAX multiplies float32 matrices in bfloat16 on this TPU unless the precision is 'highest'.")
    if theirs is None:
        notes.append(
            "torch is not usable here: `check`, `audit` and `kinks` need it (pip install torch); `diff` and"
            " `dump jax --like RUN` do not."
        )
    elif theirs["cuda"] and theirs["cudnn_conv_fp32"] in ("none", "tf32", "unknown"):
        notes.append('torch convolutions may run in TF32 on a GPU: torch.backends.cudnn.conv.fp32_precision = "ieee"')
    if theirs is not None and theirs["float32_matmul_precision"] != "highest":
        notes.append(
            'torch multiplies float32 matrices below full precision: torch.set_float32_matmul_precision("highest")'
        )
    return notes

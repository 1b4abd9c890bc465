"""What a result must say of the machine that it was measured on."""

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import jax
import torch

__all__ = ["environment"]

PACKAGES = ("jaxgrad", "jax", "jaxlib", "flax", "optax", "torch", "numpy")


def environment(threads: int) -> dict[str, Any]:
    """Return versions, device, thread count, precision flags and commit."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
        "processor": processor(),
        "threads": threads,
        "torch_threads": torch.get_num_threads(),
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "default_matmul_precision": jax.config.jax_default_matmul_precision,
        "torch_matmul_precision": torch.get_float32_matmul_precision(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "load_average": os.getloadavg()[0],
        "commit": commit(),
    }


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def commit() -> str:
    """Return the commit of the checkout, with a mark where it has changes; empty outside of one."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()

"""What a result must say of the machine that it was measured on."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

__all__ = ["commit", "cores", "environment", "processor"]

PACKAGES = ("jaxgrad", "jax", "jaxlib", "flax", "optax", "torch", "numpy")


def environment(device: str, threads: int | None) -> dict[str, Any]:
    """Return versions, device, thread count and precision flags."""
    # these import torch, and who asks for the processor alone may have none
    from bench import _device, _rivals

    chosen = jax.devices(device)[0]
    return {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES} | _rivals.versions(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "device_kind": chosen.device_kind,
        "device_count": jax.device_count(device),
        "processor": processor(),
        "threads": threads or cores(),
        "flags": _device.flags(),
        "load_average": os.getloadavg()[0],
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def commit() -> str:
    """Return the commit of the checkout, with a mark where it has changes; empty outside of one."""
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()

"""The device, and what is pinned on both sides so that a number means the same tomorrow."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import torch

from bench._command import leave
from bench._record import cores

__all__ = ["DEVICES", "DTYPES", "check_device", "check_threads", "on_cores", "pinned", "torch_is_there"]

DEVICES = ("cpu", "gpu", "tpu")
DTYPES = ("float32", "float64", "bfloat16")


def check_device(command: str, device: str | None) -> str:
    """Return the platform to run on, which is JAX's default from here on; leave with one line where it cannot be."""
    # else the first process takes most of a GPU, and those that are weighed find nothing left
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if device is not None and device not in DEVICES:
        leave(command, f"--device takes {', '.join(DEVICES)}; got {device!r}")
    if device == "cpu":
        # a default device alone would not do: functions choose their way by the default backend, which JAX settles when
        # it is first asked for devices, so this comes before that. The variable is for the processes that are forked
        os.environ["JAX_PLATFORMS"] = "cpu"
        jax.config.update("jax_platforms", "cpu")
    try:
        there = ", ".join(sorted({d.platform for d in jax.devices()}))
    except RuntimeError as error:  # JAX_PLATFORMS names one that is not there
        leave(command, f"JAX finds no device at all: {str(error).strip().splitlines()[0]}")
    default = jax.default_backend()
    if device is None:
        return default
    try:
        jax.devices(device)
    except RuntimeError:
        leave(command, f"JAX finds no {device} on this machine (it has: {there}); is its plugin installed?")
    if default != device:  # another was started before this, or stands first in JAX_PLATFORMS
        leave(
            command, f"--device {device}: JAX's default in this process is {default} by now, and functions go by that"
        )
    return device


def torch_is_there(device: str) -> str:
    """Return why torch cannot compute on a device; empty where it can."""
    if device == "cpu" or (device in ("gpu", "cuda", "rocm") and torch.cuda.is_available()):
        return ""
    return f"torch {torch.__version__} has no {device} here: it agreed on the CPU, and was not timed"


def check_threads(command: str, threads: int | None) -> None:
    """Leave with one line where there are fewer cores: torch would start the threads all the same, and XLA not."""
    if threads is not None and threads > cores():
        leave(command, f"--threads takes at most {cores()}, the cores that this process may use; got {threads}")


@contextlib.contextmanager
def on_cores(threads: int | None) -> Iterator[None]:
    """Give the process that many of its cores, and all of them back at the end.

    XLA starts as many threads as the process has cores when its client starts, which asking for a device does.
    """
    if threads is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def pinned(device: str, dtype: str, threads: int | None) -> Iterator[None]:
    """Pin precision, threads and devices of both frameworks, and give back what was set before.

    Products in float32 are in float32: neither TF32 nor bfloat16 passes. ``threads`` counts for XLA in a process that
    has not computed yet, see `on_cores`.
    """
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.default_matmul_precision("highest"))
        stack.enter_context(jax.enable_x64(np.dtype(dtype) == np.float64))
        stack.enter_context(warnings.catch_warnings())
        # every row defines its losses anew, and is built several times
        warnings.filterwarnings("ignore", message=".*was called with 4 different functions")
        stack.enter_context(on_cores(threads))
        torch.set_num_threads(threads or cores())
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        stack.enter_context(jax.default_device(jax.devices(device)[0]))
        if device != "cpu" and not torch_is_there(device):
            stack.enter_context(torch.device("cuda"))
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.set_float32_matmul_precision(before[1])
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def flags() -> dict[str, Any]:
    """Return what is pinned, as it stands now."""
    return {
        "jax_default_matmul_precision": jax.config.jax_default_matmul_precision,
        "x64": bool(jax.config.jax_enable_x64),
        "torch_float32_matmul_precision": torch.get_float32_matmul_precision(),
        "torch_tf32": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "torch_threads": torch.get_num_threads(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }

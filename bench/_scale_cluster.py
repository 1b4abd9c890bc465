"""Where the processes of ``python -m bench.scale`` come from: from a cluster's launcher, or from loopback."""

import os
import socket
from typing import NamedTuple

from bench._command import leave

__all__ = ["Place", "found", "free_address"]

KINDS = ("auto", "none", "slurm", "ompi", "mpi4py", "k8s")


class Place(NamedTuple):
    """This process among those of a cluster."""

    index: int
    """Its number."""
    detection: str | None
    """What `jax.distributed.initialize` is told; ``None``: it looks by itself."""


def found(command: str, kind: str) -> Place | None:
    """Return the place of this process among several that a cluster has started; ``None`` where it is alone.

    The variables are those that JAX's own detection reads. Open MPI from version 5 on, MPICH and Intel's MPI leave none
    that say where the first process is: there `mpi4py` tells them. SLURM sets the variables of MPICH too, where `srun`
    is to start programs of MPI: it is asked first where the processes of its step are as many as MPI's.
    """
    if kind not in KINDS:
        leave(command, f"--cluster takes {', '.join(KINDS)}; got {kind!r}")
    slurm = (
        _index("SLURM_PROCID") if {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID"} <= {*os.environ} else None
    )
    mpi = next((i for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK") if (i := _index(name)) is not None), None)
    pod = _index("JOB_COMPLETION_INDEX") if "KUBERNETES_SERVICE_HOST" in os.environ else None
    old = "OMPI_MCA_orte_hnp_uri" in os.environ
    places = {
        "slurm": (slurm, None),
        "ompi": (mpi if old else None, None),
        "mpi4py": (mpi, "mpi4py"),
        "k8s": (pod, None),
    }
    if kind == "none":
        return None
    if kind != "auto":
        index, detection = places[kind]
        if index is None:
            leave(command, f"--cluster {kind}: its variables are not in the environment; see docs/scale.md")
        return Place(index, detection)
    # the shell of an interactive allocation is a step of one task, beside the number of those that are asked for
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in os.environ else "SLURM_NTASKS"
    several = {"slurm": _several(tasks), "k8s": pod is not None}
    several["ompi"] = several["mpi4py"] = _several("OMPI_COMM_WORLD_SIZE") or _several("PMI_SIZE")
    # the same on all processes of a step: they must not choose differently
    srun = _index("PMI_SIZE") == _index("SLURM_STEP_NUM_TASKS") is not None
    for name in ("slurm", "ompi", "mpi4py", "k8s") if srun else ("ompi", "mpi4py", "slurm", "k8s"):
        index, detection = places[name]
        if several[name] and index is not None:
            return Place(index, detection)
    return None


def _index(name: str) -> int | None:
    """Return the number in a variable of the environment."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else None


def _several(name: str) -> bool:
    """Whether a variable of the environment counts more than one."""
    return (_index(name) or 0) > 1


def free_address() -> str:
    """Return an address on loopback whose port is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"

"""The precision in which models are tried and compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

__all__ = ["follow", "framework_default", "precision", "threads_beside_jax"]

SMALL = 1_000_000
"""Up to how many numbers, weights and batch together, a torch model is run on one thread: a layer of such a model is
done in the time in which a second thread wakes up, and threads that wait for one another do so by spinning. Beside
JAX, which compiles meanwhile on the other cores, that took up to eight times the processor time of the work itself.
A larger model gets half of torch's threads, for JAX works beside it in the other half: the whole check of a GPT of 10
million parameters on two cores took 74 s of wall time with both, and 56 s with one."""


@contextmanager
def precision() -> Iterator[None]:
    """Compute with float64 kept and the usual promotion; the user's matrix precision stands, for it is judged too."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextmanager
def framework_default() -> Iterator[None]:
    """Compute as JAX does by default, with x64 off."""
    with jax.enable_x64(False):
        yield


@contextmanager
def threads_beside_jax(count: int) -> Iterator[None]:
    """Let torch compute on one thread where a model and its batch hold few numbers, and else on half of its threads.

    Args:
        count: How many numbers they hold.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if count <= SMALL else (threads + 1) // 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def follow(module: Any, dtype: Any) -> None:
    """Let a layer of a private copy compute in the dtype of the parameters that it is given.

    A recurrent cell starts from a carry of its ``param_dtype``, and an NNX embedding computes in the dtype that its
    table had when it was made.
    """
    from flax import nnx

    if dtype is None:
        return
    if hasattr(module, "initialize_carry") and hasattr(module, "param_dtype"):
        object.__setattr__(module, "param_dtype", dtype)
    if isinstance(module, nnx.Embed) and module.dtype == module.param_dtype:
        object.__setattr__(module, "dtype", dtype)

"""The precision in which models are tried and compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

__all__ = ["follow", "framework_default", "precision"]


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

"""The names that signatures use; every one is a pytree or a function on pytrees."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax

__all__ = ["Array", "AxisName", "Key", "LossFn", "Params", "Tree", "Wrt"]

Array = jax.Array
"""A JAX array, or a tracer of one."""

Key = jax.Array
"""A random key from ``jax.random.key``."""

Tree = Any
"""Any pytree of arrays."""

Params = Any
"""A pytree of inexact arrays: the parameters of a network, for example Flax's nested dictionary."""

Wrt = str | Sequence[str] | Callable[[str, Any], bool] | None
"""Which leaves of ``params`` count: glob patterns on their paths, a predicate of path and leaf, or all."""


AxisName = str | Sequence[str] | None
"""The mesh axis, or several, of a `jax.shard_map` whose devices share a batch; ``None``: each device has its own."""


class LossFn(Protocol):
    """A function of parameters and data that returns a real scalar."""

    def __call__(self, params: Any, /, *data: Any) -> Any:
        """Return the loss, an array of shape ``()``."""

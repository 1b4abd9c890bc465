"""The names that signatures use; every one is a pytree or a function on pytrees."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple

import jax

__all__ = ["Array", "Aux", "AxisName", "Key", "LossFn", "Params", "T", "Tree", "Ts", "Wrt"]

T = TypeVar("T")
"""The type of ``params``: what a function returns in the shape of them has the same."""

Ts = TypeVarTuple("Ts")
"""The types of ``*data``, in order: those that the loss takes after ``params``."""

Aux = TypeVar("Aux")
"""The type of what a loss returns beside its value, with ``has_aux=True``."""

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

LossFn = Callable[..., Any]
"""``loss_fn(params, *data)``: a real scalar, or with ``has_aux=True`` the pair of it and any pytree."""

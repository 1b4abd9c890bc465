"""The names that signatures use; every one is a pytree or a function on pytrees."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, TypeVarTuple

import jax

__all__ = ["Array", "Aux", "AxisName", "Function", "Key", "LossFn", "Params", "T", "Tree", "Ts", "Wrt", "X"]

T = TypeVar("T")
"""The type of ``params``: what a function returns in the shape of them has the same."""

Ts = TypeVarTuple("Ts")
"""The types of ``*data``, in order: those that the loss takes after ``params``."""

X = TypeVar("X")
"""The type of another tree that results mirror: an input."""

R = TypeVar("R", covariant=True)
"""The type of what a function returns."""

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


class AnyData(Protocol[R]):
    """A function of which no arguments are known: ``Callable[..., R]``, or what `jax.jit` returns."""

    def __call__(self, *args: object, **kwargs: object) -> R:
        """Take whatever is given; a function whose arguments are known does not fit, and is compared with them."""


Function = Callable[[T, *Ts], R] | AnyData[R]
"""``Function[T, *Ts, Array]`` is ``loss_fn(params, *data)``, an array; ``Function[T, *Ts, tuple[Array, Aux]]`` a pair.

The second form is for pyright, which binds no ``*Ts`` to a function of which no arguments are known.
"""

LossFn = Callable[..., Any]
"""``loss_fn(params, *data)``: a real scalar, or with ``has_aux=True`` the pair of it and any pytree."""

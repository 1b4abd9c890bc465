"""What the table of transforms needs to know of a public function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Example"]


@dataclass(frozen=True)
class Example:
    """One public function on small inputs, ready to be transformed.

    ``call(*inputs)`` must return a tree of arrays. The table casts the floating-point leaves of ``inputs`` to each
    dtype, maps them along a new leading axis, differentiates with respect to them, lays them over devices, ...
    """

    call: Callable[..., Any]
    """Takes the inputs: a named function that calls the public one with its static arguments, and hands on options."""
    inputs: Callable[[], tuple[Any, ...]]
    """Draws the inputs: trees of float64 NumPy arrays (integer leaves are passed on as they are)."""
    fresh: Callable[[Any], Callable[..., Any]]
    """Given an array, returns a call like ``call`` whose static function is a new closure over that array."""
    sharded: tuple[int, ...] = ()
    """Which inputs have a leading axis, of a length that 4 divides, that is laid over devices.

    The others are replicated. Where there is none, each device of a `jax.shard_map` is given a ``differentiated`` input
    of its own.
    """
    along: int | None = None
    """With ``axis_name``: which axis of the results belongs to examples; ``None``: all devices have the same result."""
    differentiated: int = 0
    """Which input ``grad`` and ``jvp`` differentiate with respect to."""
    tolerance_bf16: float = 0.1
    """The largest relative L2 error in bfloat16 against float64."""
    refuses: tuple[str, ...] = ()
    """Names of the transformations that do not apply."""
    reason: str = ""
    """Why they do not."""

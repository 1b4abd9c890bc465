"""What a benchmark row is: data, with no clock in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Contender", "Problem", "Program", "Row"]


@dataclass(frozen=True)
class Program:
    """A JAX function and its arguments, to be lowered for its FLOPs, temporaries and compile time."""

    fun: Callable[..., Any]
    """Takes arrays only: bind the loss and the options with ``functools.partial``."""
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Contender:
    """One way to compute the row's quantity."""

    name: str
    """``jaxgrad``, ``torch_ref``, ``torch.func``, ``jax.vmap(grad)``, ..."""
    framework: Literal["jax", "torch"]
    run: Callable[[], Any]
    """One whole call on inputs that are ready; the clock waits for its result."""
    program: Program | None = None
    """What XLA compiles for it; ``None`` for torch."""
    read: Callable[[Any], Any] = field(default=lambda result: result)
    """Turns the result into the tree that all contenders are compared on."""


@dataclass(frozen=True)
class Problem:
    """A row on its real inputs."""

    contenders: list[Contender]
    """Ours first. All must agree before anything is timed."""
    gradient: Contender | None = None
    """One jitted gradient of the same loss: the unit of cost."""
    agreement: float = 1e-4
    """The largest relative L2 difference of a leaf between contenders, in the dtype of the row."""
    in_float64: Callable[[], list[Contender]] | None = None
    """The same contenders on float64 inputs, to agree there instead: in float32 a unit of a ReLU network that rounds to
    the other side of its kink makes right gradients differ."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """The algorithm's name, such as ``hvp``."""
    sizes: str
    """The problem in a few words: ``MLP 784-512-512-10, batch 256``."""
    build: Callable[[bool], Problem]
    """Makes the problem; ``True`` asks for small sizes that finish within seconds."""

"""What a benchmark row is: data, with no clock in it."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

__all__ = ["Contender", "Problem", "Program", "Row", "Sizes"]


class Sizes:
    """The sizes of a problem by name, as attributes, and the dtype of its numbers: all that a build is given."""

    def __init__(self, values: Mapping[str, Any], dtype: Any = np.float32) -> None:
        """Take the sizes; ``dtype`` is what arrays of floating-point numbers are cast to."""
        self.values, self.dtype = dict(values), np.dtype(dtype)

    def __getattr__(self, name: str) -> Any:
        """Return a size."""
        try:
            return self.__dict__["values"][name]
        except KeyError:
            message = f"the row has no size {name!r}; it has {', '.join(self.__dict__.get('values', {}))}"
            raise AttributeError(message) from None


@dataclass(frozen=True)
class Program:
    """A JAX function and its arguments, to be lowered for its FLOPs, temporaries and compile time."""

    fun: Callable[..., Any]
    """Takes arrays: bind the loss and the options with ``functools.partial``, but for those that jaxgrad's functions
    know to be static. Where the contender calls a jitted function it is that one, for the call then finds its program
    in the cache."""
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
    unable: str = ""
    """Why it cannot run here, such as a library that is not installed: the problem has it among the absent."""
    compile_s: float = 0.0
    """Seconds that compiling took where that was done before the first call: a part of what a first call takes."""


@dataclass(frozen=True)
class Problem:
    """A row on its real inputs."""

    contenders: list[Contender]
    """Ours first. All must agree before anything is timed."""
    gradient: Contender | None = None
    """One jitted gradient of the same loss: the unit of cost."""
    agreement: float | None = None
    """Where the contenders are no two roads to one number (an iteration that stops at a tolerance, an estimate): the
    largest relative L2 difference of a leaf in float64. ``None``: the verifier's rule, there and at the run's dtype."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Contenders that cannot run here, each with its reason: they stay in the table."""

    def __post_init__(self) -> None:
        """Set apart who is unable to run."""
        object.__setattr__(self, "absent", {**self.absent, **{c.name: c.unable for c in self.contenders if c.unable}})
        object.__setattr__(self, "contenders", [c for c in self.contenders if not c.unable])


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """The algorithm's name, such as ``hvp``."""
    template: str
    """The problem in a few words, with its sizes by name: ``MLP {mlp}, batch {batch}``."""
    build: Callable[[Sizes], Problem]
    """Makes the problem of its sizes."""
    full: Mapping[str, Any] = field(default_factory=dict)
    """The sizes."""
    small: Mapping[str, Any] = field(default_factory=dict)
    """Those of them that differ where a run must finish within seconds."""
    judged: Mapping[str, Any] = field(default_factory=dict)
    """Sizes that are other where the contenders are compared: float64 at the full ones would take most of a minute,
    or more memory than there is."""
    rival_weighed: bool = True
    """Whether of a row that is not the first of its name the memory of the best rival is asked for, beside ours: it is
    not where it only grows as the inputs do."""

    def sizes(self, quick: bool, dtype: Any = np.float32, **changes: Any) -> Sizes:
        """Return the sizes, the small ones or the full ones, with changes."""
        return Sizes({**self.full, **(self.small if quick else {}), **changes}, dtype)

    def label(self, quick: bool, **changes: Any) -> str:
        """Return the problem in a few words: the very sizes that the build is given."""
        return label(self.template, self.sizes(quick, **changes).values)


def label(template: str, values: Mapping[str, Any]) -> str:
    """Write sizes into their template; the widths of a network as ``784-512-10``."""
    unknown = {name for _, name, _, _ in string.Formatter().parse(template) if name} - set(values)
    if unknown:
        message = f"{template!r} names sizes that the row has not: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    return template.format(**{name: in_words(value) for name, value in values.items()})


def in_words(value: Any) -> str:
    """Write one size."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)

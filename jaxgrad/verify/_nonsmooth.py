"""The derivatives that the two installed frameworks give at kinks, probed and not remembered: releases move them."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.frameworks._compile import quick

__all__ = ["Kink", "kinks"]


@dataclasses.dataclass(frozen=True)
class Kink:
    """One function at one point, and its first and second derivative in either framework."""

    function: str
    """The function, by the name that both frameworks know it under."""
    point: float
    """Where it was probed."""
    torch_first: float | str
    """The first derivative in torch, or the word ``raises``."""
    jax_first: float | str
    """The first derivative in JAX."""
    torch_second: float | str
    """The second derivative in torch."""
    jax_second: float | str
    """The second derivative in JAX."""

    @property
    def same_first(self) -> bool:
        """Whether the first derivatives are one number."""
        return _same(self.torch_first, self.jax_first)

    @property
    def same_second(self) -> bool:
        """Whether the second derivatives are one number."""
        return _same(self.torch_second, self.jax_second)


def _same(a: float | str, b: float | str) -> bool:
    """Compare two probed numbers; NaN is NaN."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return (math.isnan(a) and math.isnan(b)) or a == b or abs(a - b) <= RECOGNISED * max(abs(a), abs(b))


def _functions() -> list[tuple[str, float, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Return every probe: its name, its point, the function in JAX and in torch (scalars to scalars)."""
    import torch
    from torch.nn import functional

    def entry(index: int) -> Callable[[Any], Any]:
        # a vector that ties with its own other entry; the derivative is that of the first
        return lambda x: jnp.stack([x, jnp.zeros_like(x) + index])

    return [
        ("relu", 0.0, jax.nn.relu, torch.relu),
        ("maximum(x, 0)", 0.0, lambda x: jnp.maximum(x, 0.0), lambda x: torch.maximum(x, torch.zeros_like(x))),
        ("leaky_relu", 0.0, jax.nn.leaky_relu, functional.leaky_relu),
        ("relu6", 0.0, jax.nn.relu6, functional.relu6),
        ("relu6", 6.0, jax.nn.relu6, functional.relu6),
        ("elu", 0.0, jax.nn.elu, functional.elu),
        ("selu", 0.0, jax.nn.selu, torch.selu),
        ("celu(alpha=4)", 0.0, lambda x: jax.nn.celu(x, 4.0), lambda x: functional.celu(x, 4.0)),
        ("hardtanh", 1.0, jax.nn.hard_tanh, functional.hardtanh),
        ("hardsigmoid", 3.0, jax.nn.hard_sigmoid, functional.hardsigmoid),
        ("hardswish", 3.0, jax.nn.hard_swish, functional.hardswish),
        ("hardswish", -3.0, jax.nn.hard_swish, functional.hardswish),
        ("softplus", 25.0, jax.nn.softplus, functional.softplus),
        ("softsign", 0.0, jax.nn.soft_sign, functional.softsign),
        ("log_sigmoid", 0.0, jax.nn.log_sigmoid, functional.logsigmoid),
        ("gelu (defaults)", 1.0, jax.nn.gelu, functional.gelu),
        ("abs", 0.0, jnp.abs, torch.abs),
        ("sign", 0.0, jnp.sign, torch.sign),
        ("clip(0, 1)", 0.0, lambda x: jnp.clip(x, 0.0, 1.0), lambda x: torch.clamp(x, 0.0, 1.0)),
        ("clip(0, 1)", 1.0, lambda x: jnp.clip(x, 0.0, 1.0), lambda x: torch.clamp(x, 0.0, 1.0)),
        (
            "lax.clamp(0, 1)",
            1.0,
            lambda x: jax.lax.clamp(jnp.zeros_like(x), x, jnp.ones_like(x)),
            lambda x: torch.clamp(x, 0.0, 1.0),
        ),
        ("sqrt", 0.0, jnp.sqrt, torch.sqrt),
        ("x ** 2", 0.0, lambda x: x**2, lambda x: x**2),
        ("x ** 1.5", 0.0, lambda x: x**1.5, lambda x: x**1.5),
        ("norm of (x, x)", 0.0, lambda x: jnp.linalg.norm(jnp.stack([x, x])), lambda x: torch.stack([x, x]).norm()),
        (
            "norm of (x, x), ord 1",
            0.0,
            lambda x: jnp.linalg.norm(jnp.stack([x, x]), ord=1),
            lambda x: torch.linalg.norm(torch.stack([x, x]), ord=1),
        ),
        (
            "std of a constant",
            0.0,
            lambda x: jnp.std(entry(0)(x), ddof=1),
            lambda x: torch.stack([x, torch.zeros_like(x)]).std(),
        ),
        ("max over a tie", 0.0, lambda x: entry(0)(x).max(), lambda x: torch.stack([x, torch.zeros_like(x)]).max()),
        (
            "max over a tie, by axis",
            0.0,
            lambda x: entry(0)(x).max(axis=0),
            lambda x: torch.stack([x, torch.zeros_like(x)]).max(dim=0).values,
        ),
        (
            "median of two",
            0.0,
            lambda x: jnp.median(entry(1)(x)),
            lambda x: torch.stack([x, torch.ones_like(x)]).median(),
        ),
        ("atan2(x, x)", 0.0, lambda x: jnp.arctan2(x, x), lambda x: torch.atan2(x, x)),
        ("hypot(x, x)", 0.0, lambda x: jnp.hypot(x, x), lambda x: torch.hypot(x, x)),
        ("sinc", 0.0, jnp.sinc, torch.sinc),
        ("arccos", 1.0, jnp.arccos, torch.arccos),
        ("product with a zero", 0.0, lambda x: entry(2)(x).prod(), lambda x: torch.stack([x, 2 + 0 * x]).prod()),
    ]


def kinks() -> list[Kink]:
    """Probe the installed frameworks in float64.

    Returns:
        A row for every function and point.

    Raises:
        ModuleNotFoundError: If torch is not installed.

    Cost:
        Two derivatives of every function in either framework, once a process.

    Example:
        >>> from jaxgrad import verify
        >>> relu = next(row for row in verify.kinks() if row.function == "relu")
        >>> relu.torch_first, relu.jax_first
        (0.0, 0.0)

    References:
        ``research/verification.md`` of the project lists where the two differ, and since when.
    """
    return list(_probed())


@functools.cache
def _probed() -> tuple[Kink, ...]:
    """Probe once in a process: what is installed does not change."""
    table = _functions()
    with jax.enable_x64(True):
        ours = _in_jax([(fun, point) for _, point, fun, _ in table])
    return tuple(
        Kink(name, point, *_pairwise(_in_torch(theirs, point), pair))
        for (name, point, _, theirs), pair in zip(table, ours, strict=True)
    )


def _pairwise(torch_pair: tuple[Any, Any], jax_pair: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Order the four numbers as the fields of `Kink`."""
    return torch_pair[0], jax_pair[0], torch_pair[1], jax_pair[1]


def _in_jax(probes: list[tuple[Callable[[Any], Any], float]]) -> list[tuple[float, float]]:
    """Return both derivatives of every function in JAX; one program, since hundreds of small ones take seconds."""

    def derivatives(points: list[Any]) -> list[tuple[Any, Any]]:
        return [(jax.grad(f)(x), jax.grad(jax.grad(f))(x)) for (f, _), x in zip(probes, points, strict=True)]

    found = quick(derivatives)([jnp.asarray(point, jnp.float64) for _, point in probes])
    return [(float(first), float(second)) for first, second in found]


def _in_torch(fun: Callable[[Any], Any], point: float) -> tuple[float | str, float | str]:
    """Return both derivatives in torch; a function whose gradient has no graph is reported as raising."""
    import torch

    x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(fun(x), x, create_graph=True)
    try:
        (second,) = torch.autograd.grad(first, x)
    except RuntimeError:
        return first.item(), "raises"
    return first.item(), second.item()

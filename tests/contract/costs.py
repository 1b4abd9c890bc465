"""What the tests of Cost lines share: a network whose products are nearly all of the work, and how claims are judged.

Nothing runs, and little is compiled: the count is that of the lowered program, in which the body of a loop counts once.
"""

import functools
import importlib
import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad.verify.cases.families._networks import mlp_jax

__all__ = [
    "BATCH",
    "CLOSE",
    "WIDTH",
    "Claim",
    "at_points",
    "check",
    "cost_of",
    "dimension",
    "for_each_weight",
    "in_another_direction",
    "in_its_own_direction",
    "loss",
    "several",
]

WIDTH, DEPTH, BATCH = 48, 5, 24

CLOSE = 0.95, 1.05
"""Within which claims of three gradients and more are held: one more pass over the layers is a third of a gradient."""


def network(first, last):
    """Return the shapes of a network's weights, and of a batch of inputs."""
    widths = (first, *[WIDTH] * (DEPTH - 1), last)
    params = {f"layer{i}": {"weight": of(b, a), "bias": of(b)} for i, (a, b) in enumerate(itertools.pairwise(widths))}
    return params, of(BATCH, first)


def of(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def flops(fun, args, compiled=False):
    lowered = jax.jit(fun).lower(*args)
    return (lowered.compile() if compiled else lowered).cost_analysis()["flops"]


def loss(params, x):
    return jnp.mean(mlp_jax(params, x) ** 2)


@functools.cache
def unit(name, first, last):
    if name == "operation":
        return 1
    return flops({"gradient": jax.grad(loss), "evaluation": mlp_jax}[name], network(first, last))


def in_its_own_direction(fun):
    """Give a function of parameters, a vector like them and a batch the parameters twice."""
    return lambda params, x: fun(params, params, x)


def in_another_direction(fun):
    """Give it the parameters and others: of products with the same weights XLA makes one."""
    return lambda params, x: fun(params, jax.tree.map(jnp.sin, params), x)


def at_points(operator, *given):
    """Map an operator of a function of a point over the batch."""

    def mapped(params, x):
        def at(z):
            return operator(lambda y: mlp_jax(params, y)[0], z, *(g(z) for g in given))

        return jax.vmap(at)(x)

    return mapped


def several(count):
    """Return losses that share every layer."""

    def losses(params, x):
        out = mlp_jax(params, x)
        return tuple(jnp.mean((out - float(k)) ** 2) for k in range(count))

    return losses


def dimension(d):
    return d


def for_each_weight(operations):
    """Return operations for each of the weights, in gradients, which take 5.6 for each weight and example.

    Of six: the gradient by the first layer's input is none.
    """
    return operations / (5.6 * BATCH)


class Claim(NamedTuple):
    """A sentence of a Cost line, what it says for a size, and a program of that size."""

    name: str
    words: str
    """As they stand in the docstring."""
    unit: str
    """``gradient`` or ``evaluation`` of the network over the batch, or ``operation`` for what has no network."""
    claimed: Callable[[int], float]
    program: Callable[[int], Any]
    """Returns a function of parameters and a batch."""
    sizes: tuple[int, ...] = (1,)
    first: Callable[[int], int] = lambda n: WIDTH
    """The width of the input."""
    last: int = WIDTH
    within: tuple[float, float] = (0.9, 1.1)
    """What of the claim is right, where the words say `about` or `at most`."""
    compiled: bool = False
    """Whether the compiled program is counted: where XLA makes one of what is in the lowered one twice."""


def cost_of(name):
    """Return the Cost section of a public function, on one line; nothing where there is none."""
    family, function = name.split(".")
    doc = getattr(importlib.import_module(f"jaxgrad.{family}"), function).__doc__ or ""
    cost = re.search(r"Cost:\n(.*?)\n\s*(?:Example|References):", doc, re.DOTALL)
    return " ".join(cost.group(1).split()) if cost else ""


def check(claim):
    """Assert that the words stand in the docstring, and that the count is what they say."""
    assert claim.words in cost_of(claim.name)
    for size in claim.sizes:
        shapes = claim.first(size), claim.last
        found = flops(claim.program(size), network(*shapes), claim.compiled) / unit(claim.unit, *shapes)
        low, high = claim.within
        assert low * claim.claimed(size) <= found <= high * claim.claimed(size), (size, found)

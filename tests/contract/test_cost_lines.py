"""The Cost line of a docstring says how the work grows; XLA's count of operations is held against it.

The network has five equal layers, whose products are nearly all of the work. Nothing is compiled and nothing runs: the
count is that of the lowered program, in which the body of a loop counts once, so claims about loops are not here.
"""

import functools
import importlib
import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import curvature, gradient, inr, multi_loss, nth, per_example, shift
from jaxgrad.verify.cases.families._networks import mlp_jax

WIDTH, DEPTH, BATCH = 48, 5, 24


def network(first, last):
    """Return the shapes of a network's weights, and of a batch of inputs."""
    widths = (first, *[WIDTH] * (DEPTH - 1), last)
    params = {f"layer{i}": {"weight": of(b, a), "bias": of(b)} for i, (a, b) in enumerate(itertools.pairwise(widths))}
    return params, of(BATCH, first)


def of(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def flops(fun, *args):
    return jax.jit(fun).lower(*args).cost_analysis()["flops"]


def loss(params, x):
    return jnp.mean(mlp_jax(params, x) ** 2)


@functools.cache
def unit(name, first, last):
    return flops({"gradient": jax.grad(loss), "evaluation": mlp_jax}[name], *network(first, last))


def at_points(operator, *given):
    """Map an operator of a function of a point over the batch."""

    def mapped(params, x):
        def at(z):
            return operator(lambda y: mlp_jax(params, y)[0], z, *(g(z) for g in given))

        return jax.vmap(at)(x)

    return mapped


def in_its_own_direction(fun):
    """Give a function of parameters, a vector like them and a batch the parameters twice."""
    return lambda params, x: fun(params, params, x)


def entrywise(order, params, x):
    return nth.derivatives(lambda z: mlp_jax(params, z[:, None])[:, 0], x[:, 0], order)


def several(count):
    """Return losses that share every layer."""

    def losses(params, x):
        out = mlp_jax(params, x)
        return tuple(jnp.mean((out - float(k)) ** 2) for k in range(count))

    return losses


part = functools.partial


class Claim(NamedTuple):
    """A sentence of a Cost line, what it says for a size, and a program of that size."""

    name: str
    words: str
    """As they stand in the docstring."""
    unit: str
    """``gradient`` or ``evaluation`` of the network over the batch."""
    claimed: Callable[[int], float]
    program: Callable[[int], Any]
    """Returns a function of parameters and a batch."""
    sizes: tuple[int, ...] = (1,)
    first: Callable[[int], int] = lambda n: WIDTH
    """The width of the input."""
    last: int = WIDTH
    within: tuple[float, float] = (0.9, 1.1)
    """What of the claim is right, where the words say `about` or `at most`."""


def dimension(d):
    return d


CLAIMS = [
    Claim(
        "gradient.parameter_gradient",
        "One gradient.",
        "gradient",
        lambda _: 1,
        lambda _: part(gradient.parameter_gradient, loss),
    ),
    Claim(
        "gradient.descent_step",
        "One gradient and one pass",
        "gradient",
        lambda _: 1,
        lambda _: part(gradient.descent_step, loss, learning_rate=0.1),
    ),
    Claim(
        "gradient.squared_norm_gradient",
        "About 2.5 gradients in time",
        "gradient",
        lambda _: 2.5,
        lambda _: part(gradient.squared_norm_gradient, loss),
        within=(0.9, 1.2),  # time is said there; of five layers the first one's share of a gradient is smaller
    ),
    Claim(
        "gradient.mixed_product",
        "About 2 gradients",
        "gradient",
        lambda _: 2,
        lambda _: in_its_own_direction(part(gradient.mixed_product, loss)),
    ),
    Claim(
        "shift.gradient",
        "One gradient",
        "gradient",
        lambda _: 1,
        lambda _: in_its_own_direction(part(shift.gradient, loss)),
    ),
    Claim(
        "shift.sam_gradient",
        "``num_steps + 1`` gradients",
        "gradient",
        lambda n: n + 1,
        lambda n: part(shift.sam_gradient, loss, radius=0.1, num_steps=n),
        (1, 2),
    ),
    Claim(
        "shift.extragradient",
        "Two gradients",
        "gradient",
        lambda _: 2,
        lambda _: part(shift.extragradient, loss, learning_rate=0.1),
    ),
    Claim(
        "curvature.hvp",
        "About 2.6 gradients",
        "gradient",
        lambda _: 2.6,
        lambda _: in_its_own_direction(part(curvature.hvp, loss)),
    ),
    Claim(
        "nth.derivatives",
        "``order + 1`` evaluations in the linear layers",
        "evaluation",
        lambda n: n + 1,
        lambda n: part(entrywise, n),
        (2, 4, 8),
        lambda _: 1,
        1,
        (0.95, 1.2),  # and the elementwise work, which grows with the square
    ),
    Claim(
        "nth.laplacian",
        "``d + 2`` evaluations",
        "evaluation",
        lambda d: d + 2,
        lambda _: at_points(nth.laplacian),
        (4, 16),
        dimension,
        1,
    ),
    Claim(
        "nth.biharmonic",
        "``(d + 2) ** 2`` evaluations",
        "evaluation",
        lambda d: (d + 2) ** 2,
        lambda _: at_points(nth.biharmonic),
        (2, 4),
        dimension,
        1,
    ),
    Claim(
        "nth.weighted_laplacian",
        "``2 d + 2`` for a matrix",
        "evaluation",
        lambda d: 2 * d + 2,
        lambda _: at_points(nth.weighted_laplacian, lambda z: jnp.outer(z, z)),
        (4, 8),
        dimension,
        1,
    ),
    Claim(
        "nth.directional",
        "About ``order + 1`` evaluations",
        "evaluation",
        lambda n: n + 1,
        lambda n: at_points(lambda fun, z: nth.directional(fun, z, jnp.ones_like(z), n)),
        (2, 4),
        last=1,
        within=(0.8, 1.1),  # the first layer is linear along a line: its higher coefficients vanish
    ),
    *(
        Claim(
            "inr.coordinate_derivatives",
            words,
            "evaluation",
            claimed,
            part(lambda second, _: part(inr.coordinate_derivatives, mlp_jax, second=second), second),
            (2, 3),
            dimension,
        )
        for second, words, claimed in (
            (None, "``1 + d`` evaluations of the field", lambda d: 1 + d),
            ("laplacian", "``2 + d`` with the Laplacian", lambda d: 2 + d),
            ("hessian", "``1 + d + d (d + 1) / 2`` with the Hessian", lambda d: 1 + d + d * (d + 1) / 2),
        )
    ),
    Claim(
        "per_example.values",
        "One forward over the batch",
        "evaluation",
        lambda _: 1,
        lambda _: part(per_example.values, loss),
    ),
    Claim(
        "per_example.gradients",
        "The FLOPs of one gradient of the batch",
        "gradient",
        lambda _: 1,
        lambda _: part(per_example.gradients, loss),
    ),
    Claim(
        "per_example.clipped_sum",
        "About one gradient of the batch in time",
        "gradient",
        lambda _: 1,
        lambda _: part(per_example.clipped_sum, loss, clip_norm=1.0),
    ),
    Claim(
        "multi_loss.gradients",
        "about ``(1 + 2 K) / 3`` gradients",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        lambda k: part(multi_loss.gradients, several(k), chunk=k),
        (2, 8),
    ),
    Claim(
        "multi_loss.weighted_gradient",
        "One gradient: the forward, and one backward, whatever the number of losses",
        "gradient",
        lambda _: 1,
        lambda k: part(multi_loss.weighted_gradient, several(k), weights=np.ones(k, np.float32)),
        (2, 8),
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    family, name = claim.name.split(".")
    doc = getattr(importlib.import_module(f"jaxgrad.{family}"), name).__doc__
    cost = re.search(r"Cost:\n(.*?)\n\s*(?:Example|References):", doc, re.DOTALL).group(1)
    assert claim.words in " ".join(cost.split())
    for size in claim.sizes:
        shapes = claim.first(size), claim.last
        found = flops(claim.program(size), *network(*shapes)) / unit(claim.unit, *shapes)
        low, high = claim.within
        assert low * claim.claimed(size) <= found <= high * claim.claimed(size), (size, found)


def test_every_family_whose_programs_have_no_loop_has_a_claim():
    """`meta` steps in loops, of which XLA counts one round."""
    assert {claim.name.split(".")[0] for claim in CLAIMS} == {
        "gradient",
        "shift",
        "nth",
        "curvature",
        "inr",
        "per_example",
        "multi_loss",
    }

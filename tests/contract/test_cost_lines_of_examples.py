"""Cost lines of products, projections and private sums of per-example gradients, counted in gradients of a batch."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import per_example
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, flops, loss, network, unit

part = functools.partial
KEY = jax.random.key(0, impl="rbg")
"""Of a generator that XLA counts as no operation."""

BACKWARD = 9 / 14
"""A forward and the cotangents of a network of five layers, in gradients: of three products a layer the one by the
weights is missing, and in the first layer that by the input too."""


def gradient():
    return unit("gradient", WIDTH, WIDTH)


def numbers():
    """Return how many numbers the weights are."""
    return sum(leaf.size for leaf in jax.tree.leaves(network(WIDTH, WIDTH)[0]))


def projection(fun):
    """Return the program of one direction, the body of a loop."""
    return lambda params, x: per_example.random_projection(fun, params, x, key=KEY, dim=1)


def of_two_batches(params, x):
    return per_example.gram(loss, params, x, other=(jnp.sin(x),))


def private(noise):
    """Return the program of a private step."""

    def program(params, x):
        step = per_example.dp_aggregate(loss, clip_norm=1.0, noise_multiplier=noise, expected_batch_size=BATCH, key=KEY)
        return step.update(params, step.init(params), params, batch=(x,))

    return program


def normals(params, x):
    return jax.tree.map(lambda leaf: jax.random.normal(KEY, leaf.shape, leaf.dtype), params)


def signs(params, x):
    return jax.tree.map(lambda leaf: jax.random.rademacher(KEY, leaf.shape, leaf.dtype), params)


def drawn(random):
    """Return what random numbers for all weights take, in gradients."""
    return flops(random, network(WIDTH, WIDTH)) / gradient()


@jax.custom_vjp
def reverse_only(params, x):
    return loss(params, x)


reverse_only.defvjp(lambda *given: (loss(*given), given), lambda given, _: jax.grad(loss, argnums=(0, 1))(*given))


CLAIMS = [
    Claim(
        "per_example.random_projection",
        "One forward, then ``dim`` directional derivatives of about 2/3 of a gradient each, one after the other, and a"
        " random sign for every parameter and direction",
        "gradient",
        lambda _: 1 / 3 + 2 / 3 + drawn(signs),
        lambda _: projection(loss),
        within=CLOSE,
    ),
    Claim(
        "per_example.random_projection",
        "A loss with a ``jax.custom_vjp`` has only gradients: they are formed once",
        "gradient",
        lambda _: 1 + 2 * BATCH * numbers() / gradient() + drawn(signs),
        lambda _: projection(reverse_only),
        within=CLOSE,
    ),
    Claim(
        "per_example.gram",
        "One backward pass a batch; for weights with one outer product an example ``B * B'`` products of factors",
        "gradient",
        lambda batches: batches * BACKWARD + 4 * 5 * BATCH**2 * WIDTH / gradient(),
        lambda batches: (part(per_example.gram, loss), of_two_batches)[batches - 1],
        (1, 2),
        within=CLOSE,
        compiled=True,  # in which the products of all pairs are one of theirs for each layer
    ),
    Claim(
        "per_example.gram",
        "``2 B * B' * P`` operations on gradients that are formed for the others",
        "gradient",
        lambda _: 1 + 2 * BATCH**2 * numbers() / gradient(),
        lambda _: part(per_example.gram, loss, mode="vmap"),
        within=CLOSE,
    ),
    Claim(
        "per_example.empirical_fisher",
        "One gradient of the batch, ``P * (P + B)`` numbers of memory, ``2 B P * P`` operations",
        "gradient",
        lambda _: BACKWARD + 2 * BATCH * (5 * WIDTH) ** 2 / gradient(),  # without the weights' own products
        lambda _: part(per_example.empirical_fisher, loss, wrt="*bias*"),
        within=CLOSE,
    ),
    Claim(
        "per_example.dp_aggregate",
        "That of `clipped_sum`",
        "gradient",
        lambda _: 1,
        lambda _: private(0.0),
    ),
    Claim(
        "per_example.dp_aggregate",
        "and a normal number for every parameter and step",
        "gradient",
        lambda _: 1 + drawn(normals),
        lambda _: private(1.0),
    ),
    Claim(
        "per_example.clipped_sum",
        'with ``"ghost"`` up to 5/3 gradients',
        "gradient",
        lambda _: 5 / 3,
        lambda _: part(per_example.clipped_sum, loss, clip_norm=1.0, mode="ghost"),
        within=CLOSE,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

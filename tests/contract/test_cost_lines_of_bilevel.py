"""Cost lines of bilevel problems and of trainings, of one step or two: XLA counts the body of a loop once."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, for_each_weight, loss

part = functools.partial
SGD = optax.sgd(0.1)


def decayed(params, strength, x):
    """Return an inner loss with hyper-parameters beside the network."""
    return loss(params, x) + 0.5 * strength.sum() * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def weighted(params, weights, x):
    """Return one with a hyper-parameter for every example, after the network."""
    return jnp.mean(weights[:, None] * mlp_jax(params, x) ** 2)


def learned(params, scales, x):
    """Return one with a hyper-parameter for every input, before the network."""
    return loss(params, x * scales[None])


def outer(params, hyper, x):
    return loss(params, x)


ITERATION = 2.6 + for_each_weight(16)
"""Of conjugate gradients: a product, four inner products, and four sums of two vectors."""


def implicit(num_steps, **options):
    """Return the program of one task, of which the solver takes one iteration."""
    options = {"strength": 1.0, "optimizer": SGD, "num_steps": num_steps, "num_iterations": 1} | options
    return lambda params, x: meta.implicit_gradient(loss, params, x[None], x[None], **options)


def bilevel(inner, hyper, **options):
    options = {"optimizer": SGD, "num_iterations": 1} | options
    return lambda params, x: meta.hypergradient(inner, outer, params, hyper, (x,), (x,), **options)


def evolved(pairs):
    shifts = jnp.ones(pairs, jnp.float32)
    options = {"optimizer": SGD, "num_steps": 1, "scale": 0.1, "samples": shifts}
    return lambda params, x: meta.evolution_gradient(
        decayed, outer, params, jnp.ones((), jnp.float32), (x,), (x,), **options
    )


def trained(fun, num_steps, **options):
    """Return the program of a training whose steps see all examples, and which one example judges."""

    def program(params, x):
        places = jnp.stack([jnp.arange(BATCH)] * num_steps)
        return fun(loss, params, (x,), places, (x[:1],), optimizer=SGD, **options)

    return lambda _: program


CLAIMS = [
    Claim(
        "meta.implicit_gradient",
        "``num_steps + 1`` gradients, and about 2.6 for each product",
        "gradient",
        lambda steps: steps + 1 + ITERATION,
        implicit,
        (0, 1),
        within=CLOSE,
    ),
    Claim(
        "meta.implicit_gradient",
        "with ``full_output`` a product and a gradient more",
        "gradient",
        lambda steps: steps + 1 + ITERATION + 2.6 + 1,
        part(implicit, full_output=True),
        (1,),
        within=CLOSE,
    ),
    *(
        Claim(
            "meta.hypergradient",
            '``"implicit"`` takes about 2.6 for each product, up to 2 for the mixed derivative',
            "gradient",
            part(lambda mixed, steps: steps + 1 + ITERATION + mixed, mixed),
            part(
                lambda inner, hyper, steps: bilevel(inner, jnp.ones(hyper, jnp.float32), num_steps=steps), inner, hyper
            ),
            (0, 1),
            within=CLOSE,
        )
        for inner, hyper, mixed in ((decayed, (), 0), (weighted, BATCH, 1), (learned, WIDTH, 2))
    ),
    Claim(
        "meta.hypergradient",
        "and with ``full_output`` a product and a gradient more",
        "gradient",
        lambda steps: steps + 1 + ITERATION + 2 + 2.6 + 1,
        lambda steps: bilevel(learned, jnp.ones(WIDTH, jnp.float32), num_steps=steps, full_output=True),
        (1,),
        within=CLOSE,
    ),
    Claim(
        "meta.hypergradient",
        '``"unrolled"`` about 2.7 for every step',
        "gradient",
        lambda _: 1 + 1 + 2.7,
        lambda _: bilevel(weighted, jnp.ones(BATCH, jnp.float32), num_steps=2, method="unrolled"),
        within=CLOSE,
    ),
    Claim(
        "meta.hypergradient",
        "for every number of ``hyper`` about 1.9 a step and 2/3 at the end",
        "gradient",
        lambda numbers: 1 + 1 / 3 + (1.9 + 2 / 3) * numbers,
        lambda numbers: bilevel(decayed, jnp.ones(numbers, jnp.float32), num_steps=2, method="forward"),
        (1, 4),
        within=CLOSE,
    ),
    Claim(
        "meta.evolution_gradient",
        "``2 N num_steps`` inner gradients and ``2 N`` outer losses",
        "gradient",
        lambda pairs: 2 * pairs * (1 + 1 / 3),
        evolved,
        (1, 4),
        within=CLOSE,
    ),
    Claim(
        "meta.data_weights_gradient",
        '4.7 with ``"nested"``',
        "gradient",
        lambda _: 4.7,
        trained(meta.data_weights_gradient, 4, memory="nested"),
        within=CLOSE,
    ),
    Claim(
        "meta.smoothness",
        "about 7 gradients a step",
        "gradient",
        lambda _: 7,
        trained(meta.smoothness, 2),
        within=CLOSE,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

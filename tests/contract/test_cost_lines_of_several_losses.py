"""Cost lines of updates, momenta and scalarizers of several losses, counted in gradients of one loss."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad import multi_loss
from tests.contract.costs import CLOSE, Claim, check, for_each_weight, loss, several

part = functools.partial
SGD = optax.sgd(0.1)
SIZES = (2, 8)


def apart(count):
    """Return losses of which each has a forward of its own."""
    return lambda params, x: tuple(loss(params, x + float(k)) for k in range(count))


def updates(fun, losses):
    """Return programs of an update for each of some losses."""

    def program(count):
        def updated(params, x):
            return fun(losses(count), params, multi_loss.init_states(SGD, params), x, optimizer=SGD)

        return updated

    return program


def backwards(each):
    """Return programs of the forward, and of a backward for every loss or for one."""

    def program(count):
        def kept(params, x):
            start = multi_loss.backwards(several(count), params, x)
            return start.losses, [start.gradient(k) for k in range(count if each else 1)]

        return kept

    return program


def momentum(count):
    def program(params, x):
        state = multi_loss.init_momentum(params, count)
        return multi_loss.momentum_gradients(several(count), params, state, x, weighting=multi_loss.config)

    return program


def joined(scalarizer):
    """Return programs of the gradient of losses that a function of losses makes one."""

    def program(count):
        return jax.grad(lambda params, x: scalarizer(jnp.stack(several(count)(params, x))))

    return program


def learning(scalarizer, norms=False):
    """Return programs of the gradient of losses that a scalarizer makes one, and of its next state."""

    def program(count):
        losses = several(count)

        def step(params, x):
            given = {}
            if norms:
                rows = multi_loss.gradients(losses, params, x, wrt="layer4/*", chunk=count)
                given["norms"] = jax.vmap(optax.tree.norm)(rows)

            def total(params):
                return scalarizer.update(losses(params, x), scalarizer.init(count), **given)

            return jax.value_and_grad(total, has_aux=True)(params)

        return step

    return program


def ends(rows):
    return jax.tree.map(lambda leaf: leaf[0] + leaf[-1], rows)


def square(x, count):
    """Return a square matrix that the program does not know."""
    return jnp.broadcast_to(x[0, 0], (count, count))


def of_gram(fun):
    """Return programs of a rule of the products of gradients, without them."""
    return lambda count: lambda params, x: fun(square(x, count))


def of_products(rule):
    """Return programs of a rule of the products of the gradients of two batches."""
    return lambda count: lambda params, x: rule.update(square(x[:1, :1].astype(float), count), rule.init(count))


def equal(losses):
    return jnp.full(len(losses), 1 / len(losses))


BESIDE = "``K`` operations beside the losses, and one backward for all of them"
SCALARIZERS = {
    "cosmos": joined(lambda losses: multi_loss.cosmos(losses, weights=equal(losses), penalty=1.0)),
    "dwa": learning(multi_loss.dwa(steps_per_epoch=1)),
    "famo": learning(multi_loss.famo()),
    "geometric_mean": joined(multi_loss.geometric_mean),
    "imtl_l": learning(multi_loss.imtl_l(optimizer=SGD)),
    "pbi": joined(lambda losses: multi_loss.pbi(losses, weights=equal(losses), penalty=1.0)),
    "stch": joined(part(multi_loss.stch, mu=1.0)),
    "uncertainty": learning(multi_loss.uncertainty(optimizer=SGD)),
}
CLAIMS = [
    Claim(
        "multi_loss.simultaneous_updates",
        "One forward, ``K`` backwards, and an optimizer step for each",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        updates(multi_loss.simultaneous_updates, several),
        SIZES,
        within=CLOSE,
    ),
    Claim(
        "multi_loss.sequential_updates",
        "``K`` forwards and ``K`` backwards, each without the other losses, and an optimizer step for each",
        "gradient",
        lambda k: k,
        updates(multi_loss.sequential_updates, apart),
        SIZES,
        within=CLOSE,
    ),
    Claim(
        "multi_loss.backwards",
        "then one backward for each gradient",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        backwards(each=True),
        SIZES,
        within=CLOSE,
    ),
    Claim(
        "multi_loss.backwards",
        "of the part of the program that it needs",
        "gradient",
        lambda _: 1,
        backwards(each=False),
        SIZES,
        within=CLOSE,
    ),
    Claim(
        "multi_loss.momentum_gradients",
        "One forward and one backward of the loss whose turn it is, ``K^2`` multiplications and additions for each of"
        " ``params``",
        "gradient",
        lambda k: 1 + for_each_weight(4 * k**2 + 6 * k + 5),
        momentum,
        SIZES,
        within=CLOSE,
    ),
    Claim(
        "multi_loss.gradnorm",
        "and that of the norms, ``K`` backwards to the layer that is shared",
        "gradient",
        lambda k: 1 + k / 14,  # of five layers three products each, but for that of the first by its input
        learning(multi_loss.gradnorm(optimizer=SGD), norms=True),
        SIZES,
        compiled=True,  # which has one forward for both
    ),
    Claim(
        "multi_loss.aggregated_gradient",
        "of one or two losses ``K`` backwards",
        "gradient",
        lambda k: (1 + 2 * k) / 3 + for_each_weight(4 * k**2),
        lambda k: part(multi_loss.aggregated_gradient, several(k), weighting=multi_loss.upgrad, chunk=k),
        (1, 2),
        within=CLOSE,
    ),
    Claim(
        "multi_loss.aggregated_gradient",
        "With ``aggregator`` ``K`` backwards",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        lambda k: part(multi_loss.aggregated_gradient, several(k), aggregator=ends, chunk=k),
        (4, 8),
        within=CLOSE,
    ),
    Claim(
        "multi_loss.conflicts",
        "About ``20 K^2`` operations",
        "operation",
        lambda k: 20 * k**2,
        of_gram(multi_loss.conflicts),
        (8, 32),
    ),
    Claim(
        "multi_loss.modo",
        "About ``7 K^2`` operations",
        "operation",
        lambda k: 7 * k**2,
        of_products(multi_loss.modo()),
        (64, 128),
    ),
    Claim(
        "multi_loss.sdmgrad",
        "About ``(8 + 2 num_steps) K^2`` operations",
        "operation",
        lambda k: 10 * k**2,
        of_products(multi_loss.sdmgrad(num_steps=1)),
        (64, 128),
    ),
    *(
        Claim(
            f"multi_loss.{fun.__name__}",
            "That of a plain gradient or less",
            "gradient",
            lambda _: 1,
            of_gram(fun),
            (4, 8),
            within=(0, 1),  # one side: the same for a network of any size
        )
        for fun in (multi_loss.cagrad, multi_loss.dual_projection, multi_loss.mgda, multi_loss.upgrad)
    ),
    *(
        Claim(f"multi_loss.{name}", BESIDE, "gradient", lambda _: 1, program, SIZES, within=CLOSE)
        for name, program in SCALARIZERS.items()
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

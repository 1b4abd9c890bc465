"""Cost lines that count the steps of a loop: of one step XLA's count is the whole, for it counts the body once."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad import curvature, meta
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, loss

part = functools.partial
STEP = {"optimizer": optax.sgd(0.1), "num_steps": 1}


def tasks(x):
    """Return a batch as the examples of two tasks, whose gradients take together what one of the batch does."""
    return x.reshape(2, BATCH // 2, -1)


def over_tasks(fun, **options):
    """Return the program of a function of supports and queries, of one inner step."""
    return lambda _: lambda params, x: fun(loss, params, tasks(x), tasks(x), **STEP | options)


def reptile(params, x):
    return meta.reptile_gradient(loss, params, tasks(x), **STEP)


def adapted(params, x):
    return meta.adapt(loss, params, x, **STEP)


def through_adapt(**options):
    """Return the program of two adapted steps and of a derivative of them: of one step XLA computes nothing again."""

    def program(params, x):
        steps = STEP | {"num_steps": 2}
        found, back = jax.vjp(lambda p: meta.adapt(loss, p, x, **steps, **options), params)
        return found, back(params)[0]

    return lambda _: program


def meta_sgd(params, x):
    return meta.value_and_meta_sgd_gradient(loss, params, params, tasks(x), tasks(x), **STEP)


def data_weights(params, x):
    places = jnp.stack([jnp.arange(BATCH)] * 2)  # two steps: nothing comes before the first, and it has no Hessian
    return meta.data_weights_gradient(loss, params, (x,), places, (x[:1],), optimizer=STEP["optimizer"])


def over_batches(params, x):
    product = part(curvature.ggn_product, mlp_jax, output_loss="squared_error")
    batches = x[None], jnp.zeros((1, BATCH, WIDTH))
    return curvature.over_dataset(product, params, params, batches, jnp.ones((1, BATCH)))


MAML = meta.value_and_maml_gradient
CLAIMS = [
    Claim("meta.adapt", "``num_steps`` gradients.", "gradient", lambda _: 1, lambda _: adapted),
    Claim(
        "meta.adapt",
        "Differentiated: about 4 gradients a step",
        "gradient",
        lambda _: 4,
        through_adapt(),
        within=CLOSE,
    ),
    Claim(
        "meta.adapt",
        "(FLOPs), 3.6 with ``memory=None``",
        "gradient",
        lambda _: 3.6,
        through_adapt(memory=None),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_maml_gradient",
        "About ``1 + 3.7 num_steps`` gradients (FLOPs)",
        "gradient",
        lambda _: 4.7,
        over_tasks(MAML),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_maml_gradient",
        '4.7 a step with ``"nested"``',
        "gradient",
        lambda _: 5.7,
        over_tasks(MAML, memory="nested", num_steps=4),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_maml_gradient",
        '4 with ``"checkpoint"``',
        "gradient",
        lambda _: 5,
        over_tasks(MAML, memory="checkpoint"),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_maml_gradient",
        '3 with ``"unrolled"``',
        "gradient",
        lambda _: 4,
        over_tasks(MAML, memory="unrolled"),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_first_order_gradient",
        "``1 + num_steps`` gradients",
        "gradient",
        lambda _: 2,
        over_tasks(meta.value_and_first_order_gradient),
        within=CLOSE,
    ),
    Claim(
        "meta.value_and_meta_sgd_gradient",
        "about ``1 + 3.7 num_steps`` gradients (FLOPs)",
        "gradient",
        lambda _: 4.7,
        lambda _: meta_sgd,
        within=CLOSE,
    ),
    Claim("meta.reptile_gradient", "``num_steps`` gradients", "gradient", lambda _: 1, lambda _: reptile),
    Claim(
        "meta.truncated_gradient",
        "``1 + num_steps + 2.7 window`` gradients (FLOPs)",
        "gradient",
        lambda window: 2 + 2.7 * window,
        lambda window: over_tasks(meta.truncated_gradient, window=window)(0),
        (0, 1),
        within=CLOSE,
    ),
    Claim(
        "meta.step_gradient",
        "About 4 gradients (FLOPs)",
        "gradient",
        lambda _: 4,
        lambda _: part(meta.step_gradient, loss, optimizer=STEP["optimizer"]),
        within=CLOSE,
        compiled=True,  # outside of a loop XLA computes nothing again
    ),
    Claim(
        "meta.step_gradient",
        "truncated, 2",
        "gradient",
        lambda _: 2,
        lambda _: part(meta.step_gradient, loss, optimizer=STEP["optimizer"], truncated=True),
    ),
    Claim(
        "meta.data_weights_gradient",
        "About 3.7 gradients a step (FLOPs)",
        "gradient",
        lambda _: 3.7,
        lambda _: data_weights,
        within=CLOSE,
    ),
    Claim("curvature.over_dataset", "The products of all batches", "gradient", lambda _: 1.7, lambda _: over_batches),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)

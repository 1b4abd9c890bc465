"""The functions of ``meta`` in the table of transforms."""

import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract._example import Example

STEPS = {"optimizer": optax.sgd(0.1, momentum=0.9), "num_steps": 2}
IMPLICIT = {**STEPS, "strength": 6.0, "tolerance": 1e-13, "num_iterations": 40}
STEP = {"optimizer": optax.sgd(0.1)}
ADAPTATION = {
    "optimizer": optax.adam(0.05, eps=0.1),
    "num_steps": 2,
}  # smooth enough for the finite differences of the table


def loss(params, x, y):
    """Return the mean squared error of one tanh layer."""
    return jnp.mean((jnp.tanh(mlp_jax(params, x)) - y) ** 2)


def inputs():
    """Return the parameters of the layer, and the supports and queries of four tasks."""
    rng = np.random.default_rng(0)
    support, query = [(rng.normal(size=(4, n, 3)), rng.normal(size=(4, n, 2))) for n in (4, 5)]
    return mlp_params((3, 2), 0), support, query


def one_task():
    params, (x, y), _ = inputs()
    return params, x[0], y[0]


def fresh_loss(array):
    """Return a loss that is a new closure over an array."""
    return lambda params, x, y: loss(params, x, y) + jnp.sum(array).astype(x.dtype) * 0


def row(name, draw, sharded, **options):
    """Return the row of a function of parameters and data."""

    def bind(loss_fn):
        return lambda *given, **more: getattr(meta, name)(loss_fn, *given, **options, **more)

    return Example(bind(loss), draw, lambda array: bind(fresh_loss(array)), sharded=sharded)


def to_one_task(loss_fn):
    """Return a call of `adapt`, whose task is one argument."""
    return lambda params, x, y, **options: meta.adapt(loss_fn, params, (x, y), **ADAPTATION, **options)


ROWS = {
    "meta.adapt": Example(to_one_task(loss), one_task, lambda array: to_one_task(fresh_loss(array)), sharded=(1, 2)),
    "meta.maml_gradient": row("maml_gradient", inputs, (1, 2), **STEPS),
    "meta.value_and_maml_gradient": row("value_and_maml_gradient", inputs, (1, 2), **STEPS),
    "meta.first_order_gradient": row("first_order_gradient", inputs, (1, 2), **STEPS),
    "meta.value_and_first_order_gradient": row("value_and_first_order_gradient", inputs, (1, 2), **STEPS),
    "meta.implicit_gradient": row("implicit_gradient", inputs, (1, 2), **IMPLICIT),
    "meta.step_gradient": row("step_gradient", one_task, (1, 2), **STEP),
}

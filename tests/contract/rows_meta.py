"""The functions of ``meta`` in the table of transforms."""

import jax
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


def with_rates():
    """Return the inputs, with learning rates of every entry."""
    params, support, query = inputs()
    return (
        params,
        jax.tree.map(lambda leaf: 0.1 + 0.01 * np.arange(leaf.size).reshape(leaf.shape), params),
        support,
        query,
    )


def supports():
    return inputs()[:2]


def to_one_task(loss_fn):
    """Return a call of `adapt`, whose task is one argument."""
    return lambda params, x, y, **options: meta.adapt(loss_fn, params, (x, y), **ADAPTATION, **options)


RULE = optax.sgd(0.1)
BILEVEL = {"num_steps": 2, "tolerance": 1e-13, "num_iterations": 40}


def decayed(params, hyper, x, y):
    """Return the loss of one task with a weight decay for every leaf."""
    decays = {"layer0": {name: jnp.exp(hyper[name]) for name in ("bias", "weight")}}
    return loss(params, x, y) + 2 * sum(
        d * jnp.sum(leaf**2) for d, leaf in zip(jax.tree.leaves(decays), jax.tree.leaves(params), strict=True)
    )


def judged(params, hyper, x, y):
    """Return the loss of another task, in which the hyper-parameters stand too."""
    return loss(params, x, y) + 0.01 * hyper["bias"] ** 2


def problem():
    """Return the parameters, their decays, and data of one task to train on and one to be judged by."""
    params, *data = inputs()
    inner, outer = [tuple(leaf.reshape(-1, leaf.shape[-1]) for leaf in task) for task in data]
    return params, {"bias": np.array(-0.5), "weight": np.array(0.1)}, inner, outer


def bilevel(method, memory=None):
    """Return the row of a method."""

    def bind(loss_fn):
        def call(*given, **more):
            options = {"optimizer": RULE, "method": method, "memory": memory, **BILEVEL, **more}
            return meta.hypergradient(loss_fn, judged, *given, **options)

        return call

    def fresh(array):
        return bind(lambda *given: decayed(*given) + jnp.sum(array).astype(given[-1].dtype) * 0)

    return Example(bind(decayed), problem, fresh, sharded=(2, 3), differentiated=1)


def by_places():
    """Return parameters, six examples, and the places of four of them in each of three steps, one of them empty."""
    rng = np.random.default_rng(0)
    order = np.array([[0, 3, 5], [1, 1, 2], [4, -1, 0], [2, 5, 3]])
    return mlp_params((3, 2), 0), rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), order


def to_places(name, loss_fn, **fixed):
    """Return a call of a function of a training on weighted examples: every device has places of its own."""

    def call(params, x, y, order, **options):
        given = loss_fn, params, (x, y), order.T, (x[:2], y[:2])
        return getattr(meta, name)(*given, optimizer=STEPS["optimizer"], **fixed, **options)

    return call


def row_of_places(name, **more):
    """Return the row of such a function."""
    return Example(
        to_places(name, loss), by_places, lambda array: to_places(name, fresh_loss(array)), sharded=(3,), **more
    )


def two_levels():
    """Return parameters, the shift that is the hyper-parameter, inner and outer data, and shifts of that."""
    params, (x, y), _ = inputs()
    rng = np.random.default_rng(1)
    return params, np.array(rng.normal()), (x[0], y[0]), (x[1], y[1]), 0.1 * rng.normal(size=3)


def to_windows(loss_fn):
    """Return a call of `evolution_gradient`, its shifts as the last argument."""

    def shifted(params, hyper, x, y):
        return loss_fn(params, x, y + hyper)

    def call(params, hyper, inner, outer, samples, **options):
        given = {**STEPS, "scale": 0.1, "samples": samples, **options}
        found = meta.evolution_gradient(shifted, shifted, params, hyper, inner, outer, **given)
        return found.estimate, found.standard_error, found.value

    return call


ROWS = {
    "meta.data_weights_gradient": row_of_places("data_weights_gradient"),
    "meta.smoothness": row_of_places(
        "smoothness",
        refuses=("bfloat16",),
        reason="small differences of losses have no digits in 16 bits",
    ),
    "meta.adapt": Example(to_one_task(loss), one_task, lambda array: to_one_task(fresh_loss(array)), sharded=(1, 2)),
    "meta.maml_gradient": row("maml_gradient", inputs, (1, 2), **STEPS),
    "meta.value_and_maml_gradient": row("value_and_maml_gradient", inputs, (1, 2), **STEPS),
    "meta.first_order_gradient": row("first_order_gradient", inputs, (1, 2), **STEPS),
    "meta.value_and_first_order_gradient": row("value_and_first_order_gradient", inputs, (1, 2), **STEPS),
    "meta.implicit_gradient": row("implicit_gradient", inputs, (1, 2), **IMPLICIT),
    "meta.hypergradient": bilevel("implicit"),
    "meta.hypergradient:forward": bilevel("forward"),
    "meta.hypergradient:unrolled": bilevel("unrolled"),
    "meta.meta_sgd_gradient": row("meta_sgd_gradient", with_rates, (2, 3), **STEPS),
    "meta.value_and_meta_sgd_gradient": row("value_and_meta_sgd_gradient", with_rates, (2, 3), **STEPS),
    "meta.reptile_gradient": row("reptile_gradient", supports, (1,), **ADAPTATION),
    "meta.truncated_gradient": row("truncated_gradient", inputs, (1, 2), window=1, **STEPS),
    "meta.evolution_gradient": Example(
        to_windows(loss),
        two_levels,
        lambda array: to_windows(fresh_loss(array)),
        refuses=("axis_name",),
        reason="each device has trajectories of its own, whose estimates may be averaged",
    ),
    "meta.step_gradient": row("step_gradient", one_task, (1, 2), **STEP),
}

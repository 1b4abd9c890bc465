"""The functions of ``multi_loss`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import multi_loss
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract import rules_of_gram
from tests.contract._example import Example
from tests.contract._multi_loss_scalarizers import ROWS as SCALARIZERS
from tests.problems import mean_square

MOMENTUM = optax.sgd(0.1, momentum=0.9)


def inputs():
    rng = np.random.default_rng(0)
    return mlp_params((3, 4, 2), 0), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def inputs_with_states():
    params, x, y = inputs()
    states = jax.tree.map(np.asarray, multi_loss.init_states(MOMENTUM, params))
    return params, states, x, y


def losses(params, x, y):
    """Two losses of one network."""
    return mean_square(params, x, y), jnp.mean(mlp_jax(params, x) ** 2)


def fresh_losses(array):
    """Return losses that are a new closure over an array."""

    def fresh(params, x, y):
        first, second = losses(params, x, y)
        return first + jnp.sum(array).astype(x.dtype) * 0, second

    return fresh


def gradients(params, x, y, **options):
    return multi_loss.gradients(losses, params, x, y, **options)


def fresh_gradients(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.gradients(fresh, params, x, y)


def losses_and_gradients(params, x, y, **options):
    return multi_loss.losses_and_gradients(losses, params, x, y, **options)


def fresh_losses_and_gradients(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.losses_and_gradients(fresh, params, x, y)


def simultaneous_updates(params, states, x, y, **options):
    return multi_loss.simultaneous_updates(losses, params, states, x, y, optimizer=MOMENTUM, **options)


def fresh_simultaneous_updates(array):
    fresh = fresh_losses(array)
    return lambda params, states, x, y: multi_loss.simultaneous_updates(fresh, params, states, x, y, optimizer=MOMENTUM)


def sequential_updates(params, states, x, y, **options):
    return multi_loss.sequential_updates(losses, params, states, x, y, optimizer=MOMENTUM, **options)


def fresh_sequential_updates(array):
    fresh = fresh_losses(array)
    return lambda params, states, x, y: multi_loss.sequential_updates(fresh, params, states, x, y, optimizer=MOMENTUM)


def init_states(params):
    return multi_loss.init_states(MOMENTUM, params)


def fresh_init_states(array):
    def start(leaf):
        return MOMENTUM.init(leaf * (1 + 0 * jnp.sum(array).astype(leaf.dtype)))

    optimizer = optax.GradientTransformation(start, MOMENTUM.update)
    return lambda params: multi_loss.init_states(optimizer, params)


def to_unit_norms(gram):
    """Divide every gradient by its norm."""
    return jnp.diagonal(gram) ** jnp.asarray(-0.5, gram.dtype)


def gram(params, x, y, **options):
    return multi_loss.gram(losses, params, x, y, **options)


def fresh_gram(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.gram(fresh, params, x, y)


def weighted_gradient(params, x, y, **options):
    return multi_loss.weighted_gradient(losses, params, x, y, weights=jnp.array([0.5, -2.0]), **options)


def fresh_weighted_gradient(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.weighted_gradient(fresh, params, x, y, weights=jnp.ones(2))


def aggregated_gradient(params, x, y, **options):
    return multi_loss.aggregated_gradient(losses, params, x, y, weighting=to_unit_norms, **options)


def fresh_aggregated_gradient(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.aggregated_gradient(fresh, params, x, y, weighting=to_unit_norms)


def backwards(params, x, y, **options):
    kept = multi_loss.backwards(losses, params, x, y, **options)
    return kept.losses, kept.gradient(1), kept.weighted_gradient(jnp.array([0.5, -2.0]))


def fresh_backwards(array):
    fresh = fresh_losses(array)
    return lambda params, x, y: multi_loss.backwards(fresh, params, x, y).gradient(0)


def inputs_with_momentum():
    params, x, y = inputs()
    state = multi_loss.init_momentum(params, 2)
    rows = multi_loss.gradients(losses, params, x, y)
    # both losses have had their turn, and the first is next
    state = state._replace(momenta=rows, counts=jnp.array([1, 1], jnp.int32), step=jnp.array(2, jnp.int32))
    return params, jax.tree.map(np.asarray, state), x, y


def momentum_gradients(params, state, x, y, **options):
    return multi_loss.momentum_gradients(losses, params, state, x, y, weighting=to_unit_norms, **options)


def fresh_momentum_gradients(array):
    fresh = fresh_losses(array)
    return lambda params, state, x, y: multi_loss.momentum_gradients(
        fresh, params, state, x, y, weighting=to_unit_norms
    )


def init_momentum(params):
    return multi_loss.init_momentum(params, 2)


def without_a_function(call):
    """Return what stands for a fresh closure in a row whose function takes none."""
    return lambda array: lambda *inputs: call(*inputs)


def conflicts(matrix):
    return multi_loss.conflicts(matrix)


def matrices():
    rows = np.random.default_rng(0).normal(size=(4, 6))
    return (rows @ rows.T,)


ROWS = {
    **rules_of_gram.ROWS,
    "multi_loss.gram": Example(gram, inputs, fresh_gram, sharded=(1, 2)),
    "multi_loss.weighted_gradient": Example(weighted_gradient, inputs, fresh_weighted_gradient, sharded=(1, 2)),
    "multi_loss.aggregated_gradient": Example(aggregated_gradient, inputs, fresh_aggregated_gradient, sharded=(1, 2)),
    "multi_loss.backwards": Example(backwards, inputs, fresh_backwards, sharded=(1, 2)),
    "multi_loss.momentum_gradients": Example(
        momentum_gradients, inputs_with_momentum, fresh_momentum_gradients, sharded=(2, 3)
    ),
    "multi_loss.init_momentum": Example(
        init_momentum,
        lambda: inputs()[:1],
        without_a_function(init_momentum),
        refuses=("axis_name",),
        reason="there is no batch to take a mean over",
    ),
    "multi_loss.conflicts": Example(
        conflicts,
        matrices,
        without_a_function(conflicts),
        refuses=("axis_name",),
        reason="there is no batch to take a mean over",
    ),
    "multi_loss.gradients": Example(gradients, inputs, fresh_gradients, sharded=(1, 2)),
    "multi_loss.losses_and_gradients": Example(
        losses_and_gradients, inputs, fresh_losses_and_gradients, sharded=(1, 2)
    ),
    "multi_loss.simultaneous_updates": Example(
        simultaneous_updates, inputs_with_states, fresh_simultaneous_updates, sharded=(2, 3)
    ),
    "multi_loss.sequential_updates": Example(
        sequential_updates, inputs_with_states, fresh_sequential_updates, sharded=(2, 3)
    ),
    "multi_loss.init_states": Example(
        init_states,
        lambda: inputs()[:1],
        fresh_init_states,
        refuses=("axis_name",),
        reason="there is no batch to take a mean over",
    ),
}
ROWS |= SCALARIZERS

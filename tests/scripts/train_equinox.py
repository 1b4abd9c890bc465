"""Six ways to train beyond `jax.grad`, each with an equinox module: `python -m tests.scripts.train_equinox`."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxgrad import curvature, meta, multi_loss, nth, per_example, shift
from tests.scripts import data
from tests.scripts.common import cross_entropy, fit, fit_with_stats, judge, show
from tests.scripts.networks_equinox import Normed, TwoHeads, mlp, normed

key = jax.random.key(0)
(x_train, y_train), (x_test, y_test) = data.digits()


def sam() -> tuple[Array, Array]:
    """Minimise sharpness; BatchNorm keeps the statistics of the pass at the weights as they are."""
    apply_fn, params, stats = normed(key)

    def loss_fn(params: Normed, stats: eqx.nn.State, x: Array, y: Array) -> tuple[Array, eqx.nn.State]:
        logits, stats = apply_fn(params, stats, x)
        return cross_entropy(logits, y), stats

    gradient_fn = partial(shift.sam_gradient, loss_fn, radius=0.05, has_aux=True)
    batches = data.batches(x_train, y_train, size=128, steps=60)
    params, stats = fit_with_stats(gradient_fn, params, stats, batches)
    logits, _ = apply_fn(params, stats, x_test, train=False)
    return judge(logits, y_test, at_least=0.85)


def private() -> tuple[Array, Array]:
    """Clip the gradient of every example, and add noise; a batch is sampled, and filled up with padding."""
    params, rest = mlp(64, 10, key)

    def loss_fn(params: eqx.nn.MLP, x: Array, y: Array) -> Array:
        return cross_entropy(eqx.combine(params, rest)(x), y)

    optimizer = optax.chain(
        per_example.dp_aggregate(loss_fn, clip_norm=1.0, noise_multiplier=1.0, expected_batch_size=128.0, key=key),
        optax.adam(1e-2),
    )

    @jax.jit
    def step(params: Any, state: Any, x: Array, y: Array, is_padding: Array) -> Any:
        updates, state = optimizer.update(params, state, params, batch=(x, y), is_padding=is_padding)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for batch in data.sampled_batches(x_train, y_train, rate=0.1, size=176, steps=60):
        params, state = step(params, state, *batch)
    return judge(jax.vmap(eqx.combine(params, rest))(x_test), y_test, at_least=0.75)


def top_eigenvalue() -> Array:
    """Find the largest curvature of softmax regression at zero weights, by power iteration."""
    params = jax.tree.map(jnp.zeros_like, eqx.nn.Linear(64, 10, key=key))

    def loss_fn(params: eqx.nn.Linear) -> Array:
        return cross_entropy(jax.vmap(params)(x_train), y_train)

    product = optax.tree.random_like(key, params)
    for _ in range(30):
        product = curvature.hvp(loss_fn, params, optax.tree.scale(1 / optax.tree.norm(product), product))
    assert abs(optax.tree.norm(product) - 1.1437) < 1e-4  # that of x.T @ x / n, with a column of ones, over ten
    return optax.tree.norm(product)


def poisson() -> Array:
    """Let a network that is zero on the border solve a Poisson problem; the Laplacian's residual is its loss."""
    params, rest = mlp(2, 1, key)

    def solution(point: Array, params: eqx.nn.MLP) -> Array:
        return jnp.prod(point * (1 - point)) * eqx.combine(params, rest)(point)[0]

    def residual(params: eqx.nn.MLP, point: Array) -> Array:
        return nth.laplacian(solution, point, params) + data.source(point)

    def loss_fn(params: eqx.nn.MLP, points: Array) -> Array:
        return jnp.mean(jax.vmap(residual, (None, 0))(params, points) ** 2)

    points = data.points(64)
    params = fit(jax.grad(loss_fn), params, [(points,)] * 300)
    error = jnp.max(jnp.abs(jax.vmap(solution, (0, None))(points, params) - data.solution(points)))
    assert error < 0.05
    return error


def maml() -> tuple[Array, Array]:
    """Learn to tell two digits apart from few pictures of them, among 0 to 5; try it with 6 to 9."""
    params, rest = mlp(64, 2, key)
    inner = optax.sgd(0.5)

    def loss_fn(params: eqx.nn.MLP, x: Array, y: Array) -> Array:
        return cross_entropy(jax.vmap(eqx.combine(params, rest))(x), y)

    learn = partial(meta.maml_gradient, loss_fn, optimizer=inner, num_steps=3)
    params = fit(learn, params, data.tasks(x_train, y_train, among=range(6), count=8, shots=3, steps=60))
    ((support, query),) = data.tasks(x_test, y_test, among=range(6, 10), count=50, shots=3, steps=1)
    adapted = jax.vmap(partial(meta.adapt, loss_fn, params, optimizer=inner, num_steps=3))(support)
    logits = jax.vmap(lambda params, x: jax.vmap(eqx.combine(params, rest))(x))(adapted, query[0])
    return judge(logits, query[1], at_least=0.8)


def two_losses() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Let each of two losses take its own step, the trunk both, from one forward pass."""
    params = TwoHeads(key)
    optimizer = optax.adam(1e-2)

    def losses_fn(params: TwoHeads, x: Array, y: Array) -> tuple[Array, Array]:
        digit, odd = jax.vmap(params)(x)
        return cross_entropy(digit, y), cross_entropy(odd, y % 2)

    states = multi_loss.init_states(optimizer, params)
    for x, y in data.batches(x_train, y_train, size=128, steps=60):
        params, states, _ = multi_loss.simultaneous_updates(losses_fn, params, states, x, y, optimizer=optimizer)
    digit, odd = jax.vmap(params)(x_test)
    return judge(digit, y_test, at_least=0.85), judge(odd, y_test % 2, at_least=0.85)


if __name__ == "__main__":
    show(sam, private, top_eigenvalue, poisson, maml, two_losses)

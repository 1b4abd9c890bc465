"""What `train_linen.py` does, by hand in plain JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import Array

from tests.scripts import data
from tests.scripts.common import cross_entropy, fit, fit_with_stats, judge, show
from tests.scripts.networks_linen import MLP, Dense, Normed, TwoHeads

Params = dict[str, Any]

key = jax.random.key(0)
(x_train, y_train), (x_test, y_test) = data.digits()


def sam() -> tuple[Array, Array]:
    """Minimise sharpness; BatchNorm keeps the statistics of the pass at the weights as they are."""
    module = Normed()
    variables = module.init(key, x_train, train=True)
    params, stats = variables["params"], variables["batch_stats"]

    def loss_fn(params: Params, stats: Params, x: Array, y: Array) -> tuple[Array, Params]:
        variables = {"params": params, "batch_stats": stats}
        logits, updated = module.apply(variables, x, train=True, mutable="batch_stats")
        return cross_entropy(logits, y), updated["batch_stats"]

    def gradient_fn(params: Params, stats: Params, x: Array, y: Array) -> tuple[Params, Params]:
        ascent, updated = jax.grad(loss_fn, has_aux=True)(params, stats, x, y)
        worst = optax.tree.add_scale(params, 0.05 / optax.tree.norm(ascent), ascent)
        return jax.grad(loss_fn, has_aux=True)(worst, stats, x, y)[0], updated

    batches = data.batches(x_train, y_train, size=128, steps=60)
    params, stats = fit_with_stats(gradient_fn, params, stats, batches)
    return judge(module.apply({"params": params, "batch_stats": stats}, x_test, train=False), y_test, at_least=0.85)


def private() -> tuple[Array, Array]:
    """Clip the gradient of every example, and add noise; a batch is sampled, and filled up with padding."""
    module, optimizer = MLP(10), optax.adam(1e-2)
    params = module.init(key, x_train)["params"]

    def loss_fn(params: Params, x: Array, y: Array) -> Array:
        return cross_entropy(module.apply({"params": params}, x), y)

    @jax.jit
    def step(params: Params, state: Any, key: Array, x: Array, y: Array, is_padding: Array) -> Any:
        gradients = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(params, x, y)
        norms = jax.vmap(optax.tree.norm)(gradients)
        weights = jnp.where(is_padding, 0, jnp.minimum(1, 1 / norms))
        key, subkey, _ = jax.random.split(key, 3)
        noise = optax.tree.random_like(subkey, params)
        mean = jax.tree.map(lambda g, z: (jnp.tensordot(weights, g, 1) + z) / 128, gradients, noise)
        updates, state = optimizer.update(mean, state)
        return optax.apply_updates(params, updates), state, key

    state, noise_key = optimizer.init(params), key
    for batch in data.sampled_batches(x_train, y_train, rate=0.1, size=176, steps=60):
        params, state, noise_key = step(params, state, noise_key, *batch)
    return judge(module.apply({"params": params}, x_test), y_test, at_least=0.75)


def top_eigenvalue() -> Array:
    """Find the largest curvature of softmax regression at zero weights, by power iteration."""
    module = Dense(10, kernel_init=nn.initializers.zeros)
    params = module.init(key, x_train)["params"]

    def loss_fn(params: Params) -> Array:
        return cross_entropy(module.apply({"params": params}, x_train), y_train)

    hvp = jax.jit(lambda vector: jax.jvp(jax.grad(loss_fn), (params,), (vector,))[1])
    product = optax.tree.random_like(key, params)
    for _ in range(30):
        product = hvp(optax.tree.scale(1 / optax.tree.norm(product), product))
    assert abs(optax.tree.norm(product) - 1.1437) < 1e-4  # that of x.T @ x / n, with a column of ones, over ten
    return optax.tree.norm(product)


def poisson() -> Array:
    """Let a network that is zero on the border solve a Poisson problem; the Laplacian's residual is its loss."""
    module = MLP(1)
    params = module.init(key, jnp.ones(2))["params"]

    def solution(point: Array, params: Params) -> Array:
        return jnp.prod(point * (1 - point)) * module.apply({"params": params}, point)[0]

    def residual(params: Params, point: Array) -> Array:
        return jnp.trace(jax.hessian(solution)(point, params)) + data.source(point)

    def loss_fn(params: Params, points: Array) -> Array:
        return jnp.mean(jax.vmap(residual, (None, 0))(params, points) ** 2)

    points = data.points(64)
    params = fit(jax.grad(loss_fn), params, [(points,)] * 300)
    error = jnp.max(jnp.abs(jax.vmap(solution, (0, None))(points, params) - data.solution(points)))
    assert error < 0.05
    return error


def maml() -> tuple[Array, Array]:
    """Learn to tell two digits apart from few pictures of them, among 0 to 5; try it with 6 to 9."""
    module = MLP(2)
    params = module.init(key, x_train)["params"]

    def loss_fn(params: Params, x: Array, y: Array) -> Array:
        return cross_entropy(module.apply({"params": params}, x), y)

    def adapt(params: Params, support: tuple[Array, Array]) -> Params:
        for _ in range(3):
            params = optax.tree.add_scale(params, -0.5, jax.grad(loss_fn)(params, *support))
        return params

    def meta_loss(params: Params, support: tuple[Array, Array], query: tuple[Array, Array]) -> Array:
        return jnp.mean(jax.vmap(lambda s, q: loss_fn(adapt(params, s), *q))(support, query))

    tasks = data.tasks(x_train, y_train, among=range(6), count=8, shots=3, steps=60)
    params = fit(jax.grad(meta_loss), params, tasks)
    ((support, query),) = data.tasks(x_test, y_test, among=range(6, 10), count=50, shots=3, steps=1)
    logits = jax.vmap(lambda support, x: module.apply({"params": adapt(params, support)}, x))(support, query[0])
    return judge(logits, query[1], at_least=0.8)


def two_losses() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Let each of two losses take its own step, the trunk both, from one forward pass."""
    module, optimizer = TwoHeads(), optax.adam(1e-2)
    params = module.init(key, x_train)["params"]

    def losses_fn(params: Params, x: Array, y: Array) -> Array:
        digit, odd = module.apply({"params": params}, x)
        return jnp.stack([cross_entropy(digit, y), cross_entropy(odd, y % 2)])

    @jax.jit
    def step(params: Params, states: Params, x: Array, y: Array) -> Any:
        gradients = jax.jacrev(losses_fn)(params, x, y)
        for k, head in enumerate(("digit", "odd")):
            for name in (head, "trunk"):
                gradient = jax.tree.map(lambda rows, k=k: rows[k], gradients[name])
                updates, states[name] = optimizer.update(gradient, states[name])
                params[name] = optax.apply_updates(params[name], updates)
        return params, states

    states = {name: optimizer.init(params[name]) for name in params}
    for x, y in data.batches(x_train, y_train, size=128, steps=60):
        params, states = step(params, states, x, y)
    digit, odd = module.apply({"params": params}, x_test)
    return judge(digit, y_test, at_least=0.85), judge(odd, y_test % 2, at_least=0.85)


if __name__ == "__main__":
    show(sam, private, top_eigenvalue, poisson, maml, two_losses)

"""Sinusoid regression by MAML: the tasks, the training, and the picture of case M5."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch

__all__ = ["INNER", "RATE", "draw", "draw_tasks", "initial_params", "loss", "loss_torch", "measure"]

RATE = 0.01
INNER = optax.sgd(RATE)
SIZES = (1, 40, 40, 1)
SHOTS = 10
ROUNDS, TASKS_A_ROUND = 4000, 10
OUTER = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(optax.cosine_decay_schedule(0.003, ROUNDS)))


def initial_params() -> Any:
    """Draw the weights with He's variances, the biases zero."""
    rng, pairs = np.random.default_rng(0), itertools.pairwise(SIZES)
    return {
        f"layer{i}": {"weight": rng.normal(size=(b, a)) * np.sqrt(2 / a), "bias": np.zeros(b)}
        for i, (a, b) in enumerate(pairs)
    }


def draw_tasks(rng: np.random.Generator, tasks: int, points: Any = None) -> tuple[Any, Any]:
    """Draw sines, amplitude U[0.1, 5] and phase U[0, pi], and from each ten points U[-5, 5] for support and query.

    Args:
        rng: The source of the numbers.
        tasks: How many sines.
        points: Where the queries lie instead, the same for every task, of shape ``(n, 1)``.
    """
    amplitude, phase = rng.uniform(0.1, 5.0, (tasks, 1, 1)), rng.uniform(0.0, np.pi, (tasks, 1, 1))
    support, query = rng.uniform(-5.0, 5.0, (2, tasks, SHOTS, 1))
    query = query if points is None else np.broadcast_to(points, (tasks, *points.shape))
    return (support, amplitude * np.sin(support - phase)), (query, amplitude * np.sin(query - phase))


def loss(params: Any, x: Any, y: Any) -> Any:
    """Return the mean squared error of the ReLU network on one task."""
    return ((mlp_jax(params, x, jax.nn.relu) - y) ** 2).mean()


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the same in torch."""
    import torch

    return ((mlp_torch(params, x, torch.relu) - y) ** 2).mean()


@functools.cache
def train() -> Any:
    """Meta-train through one inner step, in float32; return the weights."""
    tasks = [draw_tasks(np.random.default_rng(seed), TASKS_A_ROUND) for seed in range(ROUNDS)]
    start, tasks = jax.tree.map(lambda leaf: leaf.astype(np.float32), (initial_params(), tasks))

    @jax.jit
    def run(params: Any, tasks: Any) -> Any:
        def step(carry: Any, task: Any) -> Any:
            params, state = carry
            slopes = meta.maml_gradient(loss, params, *task, optimizer=INNER, num_steps=1)
            updates, state = OUTER.update(slopes, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, OUTER.init(params)), tasks)
        return params

    return run(start, jax.tree.map(lambda *leaves: np.stack(leaves), *tasks))


def errors(params: Any, steps: tuple[int, ...]) -> list[float]:
    """Return the mean squared error over 100 new sines, on the whole interval, after some steps on ten points."""
    grid = np.linspace(-5.0, 5.0, 101)[:, None]
    support, query = jax.tree.map(np.float32, draw_tasks(np.random.default_rng(ROUNDS), 100, grid))

    @jax.jit
    def after(params: Any, support: Any, query: Any) -> Any:
        def of_one_task(support: Any, query: Any) -> Any:
            fast = [meta.adapt(loss, params, support, optimizer=INNER, num_steps=k) for k in steps]
            return jnp.stack([loss(weights, *query) for weights in fast])

        return jax.vmap(of_one_task)(support, query).mean(0)

    return after(params, support, query).tolist()


def measure() -> tuple[bool, str]:
    """Compare the error before adaptation, after one step, and after ten."""
    before, one, ten = errors(train(), (0, 1, 10))
    return ten < before / 4, f"MSE {before:.2f} before, {one:.2f} after 1 step, {ten:.2f} after 10"


def draw(figure: Any) -> None:
    """Draw two new sines, their ten points, and the fit before and after adaptation."""
    trained = train()
    grid = np.linspace(-5.0, 5.0, 201)[:, None]
    support, query = jax.tree.map(np.float32, draw_tasks(np.random.default_rng(ROUNDS + 1), 2, grid))
    for axes, (x, y), (points, sine) in zip(
        figure.subplots(1, 2, sharey=True), zip(*support, strict=True), zip(*query, strict=True), strict=True
    ):
        axes.plot(points, sine, color="0.6", linewidth=4, label="the sine")
        for steps, style, label in ((0, ":", "before"), (1, "--", "after 1 step"), (10, "-", "after 10 steps")):
            fast = meta.adapt(loss, trained, (x, y), optimizer=INNER, num_steps=steps)
            fit = mlp_jax(fast, jnp.asarray(points), jax.nn.relu)
            axes.plot(points, fit, "C3", linestyle=style, label=label)
        axes.plot(x, y, "ko", label="the ten points")
        axes.set_xlabel("x")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle("Adaptation to a new sine from ten points")

"""Rows of the family ``meta``: sinusoid regression, the network and the sizes of the MAML paper."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref.meta
from bench._meta_bilevel import bilevel_problem, evolution_problem, implicit_problem
from bench._meta_rivals import RIVALS, of_rival, of_torch_compile
from bench._meta_tasks import RATE, SGD_TORCH, descend_torch, loss, loss_torch, ours, setting
from bench._meta_training import data_weights_problem, smoothness_problem
from bench._row import Contender, Problem, Program, Row
from jaxgrad import meta
from jaxgrad.verify._bridge import to_jax
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params


def mapped(num_steps: int, first_order: bool) -> Callable[..., Any]:
    """Return the meta-gradient by torch.func: gradients of functions, mapped over the tasks."""

    def through(params: Any, support: Any, query: Any) -> Any:
        def after(support: Any, query: Any) -> Any:
            return loss_torch(descend_torch(params, *support, num_steps), *query)

        return torch.func.vmap(after)(support, query).mean()

    def at_adapted(params: Any, support: Any, query: Any) -> Any:
        def after(support: Any, query: Any) -> Any:
            return torch.func.grad(loss_torch)(descend_torch(params, *support, num_steps), *query)

        return jax.tree.map(lambda leaf: leaf.mean(0), torch.func.vmap(after)(support, query))

    return at_adapted if first_order else torch.func.grad(through)


def batched(params: Any, support: Any, query: Any, num_steps: int, first_order: bool) -> Any:
    """Write the tasks as an axis of every weight, with batched matrix products: the fastest plain torch."""
    tasks = len(query[0])
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda leaf: leaf.clone().requires_grad_(), params))

    def losses(fast: list[Any], x: Any, y: Any) -> Any:
        tree = jax.tree.unflatten(structure, fast)
        for i in range(len(tree)):
            x = torch.relu(x) if i else x
            x = torch.baddbmm(tree[f"layer{i}"]["bias"][:, None], x, tree[f"layer{i}"]["weight"].transpose(1, 2))
        return ((x - y) ** 2).mean((1, 2))

    fast = [leaf.expand(tasks, *leaf.shape) for leaf in leaves]
    for _ in range(num_steps):
        slopes = torch.autograd.grad(losses(fast, *support).sum(), fast, create_graph=not first_order)
        fast = [w - RATE * g for w, g in zip(fast, slopes, strict=True)]
    value = losses(fast, *query).mean()
    # a first-order gradient stops at the fast weights, and adds up over the tasks
    gradients = (
        [g.sum(0) for g in torch.autograd.grad(value, fast)] if first_order else torch.autograd.grad(value, leaves)
    )
    return jax.tree.unflatten(structure, gradients)


def meta_problem(name: str, num_steps: int) -> Callable[[bool], Problem]:
    """Return the build of a row: a meta-gradient after some inner steps."""
    first_order = name.startswith("first_order")

    def build(quick: bool) -> Problem:
        inputs, theirs, gradient = setting(quick)
        twin = functools.partial(getattr(torch_ref.meta, name), loss_torch, optimizer=SGD_TORCH, num_steps=num_steps)
        by_func = mapped(num_steps, first_order)
        return Problem(
            [
                ours(getattr(meta, name), inputs, num_steps=num_steps),
                Contender("torch_ref", "torch", lambda: twin(*theirs)),
                Contender("torch.func vmap", "torch", lambda: by_func(*theirs)),
                Contender("torch bmm", "torch", lambda: batched(*theirs, num_steps, first_order)),
                *([] if first_order else rivals(theirs, num_steps)),
                *([] if first_order or quick else [of_torch_compile(*theirs, rate=RATE, num_steps=num_steps)]),
            ],
            gradient=gradient,
        )

    return build


def rates_problem(quick: bool) -> Problem:
    """Five inner steps, with a learning rate of every entry that is differentiated too."""
    (params, *data), (params_torch, *data_torch), gradient = setting(quick)
    rates, rates_torch = (jax.tree.map(lambda leaf: 0 * leaf + RATE, tree) for tree in (params, params_torch))
    args, args_torch = (params, rates, *data), (params_torch, rates_torch, *data_torch)
    call = functools.partial(meta.meta_sgd_gradient, loss, num_steps=5)
    twin = functools.partial(torch_ref.meta.meta_sgd_gradient, loss_torch, num_steps=5)

    def meta_loss(params: Any, rates: Any, support: Any, query: Any) -> Any:
        def after(support: Any, query: Any) -> Any:
            fast = params
            for _ in range(5):
                slope = torch.func.grad(loss_torch)(fast, *support)
                fast = jax.tree.map(lambda w, a, g: w - a * g, fast, rates, slope)
            return loss_torch(fast, *query)

        return torch.func.vmap(after)(support, query).mean()

    by_func = torch.func.grad(meta_loss, argnums=(0, 1))
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: call(*args), Program(call, args)),
            Contender("torch_ref", "torch", lambda: twin(*args_torch)),
            Contender("torch.func vmap", "torch", lambda: by_func(*args_torch)),
        ],
        gradient=gradient,
    )


def reptile_problem(quick: bool) -> Problem:
    """Five inner steps on every task, and the mean of where they lead."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(quick)
    twin = functools.partial(torch_ref.meta.reptile_gradient, loss_torch, optimizer=SGD_TORCH, num_steps=5)
    ends = torch.func.vmap(lambda params, x, y: descend_torch(params, x, y, 5), in_dims=(None, 0, 0))

    def by_func() -> Any:
        return jax.tree.map(lambda w, end: w - end.mean(0), params_torch, ends(params_torch, *support_torch))

    return Problem(
        [
            ours(meta.reptile_gradient, (params, support), num_steps=5),
            Contender("torch_ref", "torch", lambda: twin(params_torch, support_torch)),
            Contender("torch.func vmap", "torch", by_func),
        ],
        gradient=gradient,
    )


def rivals(inputs: tuple[Any, ...], num_steps: int) -> list[Contender]:
    """Return the libraries that are installed."""
    runs = {name: of_rival(name, *inputs, rate=RATE, num_steps=num_steps) for name in RIVALS}
    return [Contender(name, "torch", run) for name, run in runs.items() if run is not None]


class Deep(NamedTuple):
    """A deep network on one task, where what the steps keep is what counts."""

    width: int
    depth: int
    batch: int
    num_steps: int
    optimizer: Any


DEEP = Deep(256, 8, 1024, 16, optax.sgd(0.1))
LONG = Deep(64, 4, 256, 100, optax.adam(1e-3))
MODES = ("mixed-mode", "nested", "checkpoint", "unrolled")


def deep_loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a tanh network."""
    return jnp.mean((mlp_jax(params, x, jnp.tanh) - y) ** 2)


def memory_problem(deep: Deep) -> Callable[[bool], Problem]:
    """Return the build of a row: one meta-gradient, with each choice of what is kept of the inner steps."""

    def build(quick: bool) -> Problem:
        width, batch = (16, 32) if quick else (deep.width, deep.batch)
        rng = np.random.default_rng(0)
        points = rng.normal(size=(2, 1, batch, width))
        params, points = to_jax((mlp_params((width,) * (deep.depth + 1), 0), points), np.float32)
        data = (points[0], points[0][:, ::-1]), (points[1], points[1][:, ::-1])
        options: Any = {"optimizer": deep.optimizer, "num_steps": deep.num_steps}

        def contender(memory: str) -> Contender:
            call = functools.partial(meta.maml_gradient, deep_loss, memory=memory, **options)
            return Contender(memory, "jax", lambda: call(params, *data), Program(call, (params, *data)))

        first = functools.partial(meta.first_order_gradient, deep_loss, **options)
        unit = Contender("first order", "jax", lambda: first(params, *data), Program(first, (params, *data)))
        return Problem([contender(memory) for memory in MODES], gradient=unit)

    return build


def adapt_problem(quick: bool) -> Problem:
    """Ten inner steps on one task."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(quick)
    task, task_torch = ([leaf[0] for leaf in data] for data in (support, support_torch))
    twin = functools.partial(torch_ref.meta.adapt, loss_torch, optimizer=SGD_TORCH, num_steps=10)
    return Problem(
        [
            ours(meta.adapt, (params, tuple(task)), num_steps=10),
            Contender("torch_ref", "torch", lambda: twin(params_torch, tuple(task_torch))),
            Contender("torch.func", "torch", lambda: descend_torch(params_torch, *task_torch, 10)),
        ],
        gradient=gradient,
    )


def truncated_problem(quick: bool) -> Problem:
    """Through the last of five steps."""
    inputs, theirs, gradient = setting(quick)
    options: Any = {"num_steps": 5, "window": 1}
    twin = functools.partial(torch_ref.meta.truncated_gradient, loss_torch, optimizer=SGD_TORCH, **options)
    return Problem(
        [ours(meta.truncated_gradient, inputs, **options), Contender("torch_ref", "torch", lambda: twin(*theirs))],
        gradient=gradient,
    )


def step_problem(quick: bool) -> Problem:
    """Through one step on one task."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(quick)
    data, data_torch = (tuple(leaf[0] for leaf in data) for data in (support, support_torch))

    def after_a_step(params: Any) -> Any:
        return loss_torch(descend_torch(params, *data_torch, 1), *data_torch)

    twin = functools.partial(torch_ref.meta.step_gradient, loss_torch, optimizer=SGD_TORCH)
    return Problem(
        [
            ours(meta.step_gradient, (params, *data)),
            Contender("torch_ref", "torch", lambda: twin(params_torch, *data_torch)),
            Contender("torch.func", "torch", lambda: torch.func.grad(after_a_step)(params_torch)),
        ],
        gradient=gradient,
    )


ROWS = [
    Row("maml_gradient", "sinusoid, 25 tasks, 1 step", meta_problem("maml_gradient", 1)),
    Row("maml_gradient", "sinusoid, 25 tasks, 5 steps", meta_problem("maml_gradient", 5)),
    Row("maml_gradient", "sinusoid, 25 tasks, 20 steps", meta_problem("maml_gradient", 20)),
    Row("maml_gradient by memory", "MLP 256 wide, 8 layers, batch 1024, 16 steps of SGD", memory_problem(DEEP)),
    Row("maml_gradient by memory", "MLP 64 wide, 4 layers, batch 256, 100 steps of Adam", memory_problem(LONG)),
    Row("first_order_gradient", "sinusoid, 25 tasks, 5 steps", meta_problem("first_order_gradient", 5)),
    Row("implicit_gradient", "sinusoid, 16 wide, 25 tasks, 5 steps", implicit_problem),
    Row("hypergradient: implicit", "sinusoid, 16 wide, 1 task, 10 steps, 2 decays", bilevel_problem("implicit")),
    Row("hypergradient: unrolled", "sinusoid, 16 wide, 1 task, 10 steps, 2 decays", bilevel_problem("unrolled")),
    Row("meta_sgd_gradient", "sinusoid, 25 tasks, 5 steps", rates_problem),
    Row("reptile_gradient", "sinusoid, 25 tasks, 5 steps", reptile_problem),
    Row("adapt", "sinusoid, 1 task, 10 steps", adapt_problem),
    Row("truncated_gradient", "sinusoid, 25 tasks, the last of 5 steps", truncated_problem),
    Row("evolution_gradient", "sinusoid, 1 task, a window of 10 steps, 8 pairs", evolution_problem),
    Row("step_gradient", "sinusoid, 1 task", step_problem),
    Row("data_weights_gradient", "MLP 64-16-10, 1000 examples, 100 steps of 50, nested", data_weights_problem(100)),
    Row("data_weights_gradient", "MLP 64-16-10, 1000 examples, 1000 steps of 50, nested", data_weights_problem(1000)),
    Row("smoothness", "MLP 64-16-10, 50 examples, 50 steps of 5", smoothness_problem),
]

"""Rows of the family ``meta``: sinusoid regression, the network and the sizes of the MAML paper."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref.meta
from bench._inputs import to_jax
from bench._meta_bilevel import bilevel_problem, evolution_problem, implicit_problem
from bench._meta_rivals import of_libraries, of_torch_compile
from bench._meta_tasks import FEW, RATE, SGD_TORCH, SMALL, TASKS, descend_torch, loss, loss_torch, ours, setting
from bench._meta_training import data_weights_problem, smoothness_problem
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import meta
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


def meta_problem(name: str) -> Callable[[Sizes], Problem]:
    """Return the build of a row: a meta-gradient after some inner steps."""
    first_order = name.startswith("first_order")

    def build(size: Sizes) -> Problem:
        (inputs, theirs, gradient), num_steps = setting(size), size.steps
        twin = functools.partial(getattr(torch_ref.meta, name), loss_torch, optimizer=SGD_TORCH, num_steps=num_steps)
        by_func = mapped(num_steps, first_order)
        return Problem(
            [
                ours(getattr(meta, name), inputs, num_steps=num_steps),
                Contender("torch_ref", "torch", lambda: twin(*theirs)),
                Contender("torch.func vmap", "torch", lambda: by_func(*theirs)),
                Contender("torch bmm", "torch", lambda: batched(*theirs, num_steps, first_order)),
                *([] if first_order else of_libraries(*theirs, rate=RATE, num_steps=num_steps)),
                *([] if first_order else [of_torch_compile(*theirs, rate=RATE, num_steps=num_steps)]),
            ],
            gradient=gradient,
        )

    return build


def rates_problem(size: Sizes) -> Problem:
    """Inner steps, with a learning rate of every entry that is differentiated too."""
    (params, *data), (params_torch, *data_torch), gradient = setting(size)
    rates, rates_torch = (jax.tree.map(lambda leaf: 0 * leaf + RATE, tree) for tree in (params, params_torch))
    args, args_torch = (params, rates, *data), (params_torch, rates_torch, *data_torch)
    call = functools.partial(meta.meta_sgd_gradient, loss, num_steps=size.steps)
    twin = functools.partial(torch_ref.meta.meta_sgd_gradient, loss_torch, num_steps=size.steps)

    def meta_loss(params: Any, rates: Any, support: Any, query: Any) -> Any:
        def after(support: Any, query: Any) -> Any:
            fast = params
            for _ in range(size.steps):
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


def reptile_problem(size: Sizes) -> Problem:
    """Inner steps on every task, and the mean of where they lead."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(size)
    twin = functools.partial(torch_ref.meta.reptile_gradient, loss_torch, optimizer=SGD_TORCH, num_steps=size.steps)
    ends = torch.func.vmap(lambda params, x, y: descend_torch(params, x, y, size.steps), in_dims=(None, 0, 0))

    def by_func() -> Any:
        return jax.tree.map(lambda w, end: w - end.mean(0), params_torch, ends(params_torch, *support_torch))

    return Problem(
        [
            ours(meta.reptile_gradient, (params, support), num_steps=size.steps),
            Contender("torch_ref", "torch", lambda: twin(params_torch, support_torch)),
            Contender("torch.func vmap", "torch", by_func),
        ],
        gradient=gradient,
    )


DEEP = {"width": 256, "depth": 8, "batch": 1024, "steps": 16}
LONG = {"width": 64, "depth": 4, "batch": 256, "steps": 100}
"""Deep networks on one task, where what the steps keep is what counts."""

MODES = ("mixed-mode", "nested", "checkpoint", "unrolled")


def deep_loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a tanh network."""
    return jnp.mean((mlp_jax(params, x, jnp.tanh) - y) ** 2)


def memory_problem(optimizer: Any) -> Callable[[Sizes], Problem]:
    """Return the build of a row: one meta-gradient, with each choice of what is kept of the inner steps."""

    def build(size: Sizes) -> Problem:
        width, batch = size.width, size.batch
        rng = np.random.default_rng(0)
        points = rng.normal(size=(2, 1, batch, width))
        params, points = to_jax((mlp_params((width,) * (size.depth + 1), 0), points), size.dtype)
        data = (points[0], points[0][:, ::-1]), (points[1], points[1][:, ::-1])
        options: Any = {"optimizer": optimizer, "num_steps": size.steps}

        def contender(memory: str) -> Contender:
            call = functools.partial(meta.maml_gradient, deep_loss, memory=memory, **options)
            return Contender(memory, "jax", lambda: call(params, *data), Program(call, (params, *data)))

        first = functools.partial(meta.first_order_gradient, deep_loss, **options)
        unit = Contender("first order", "jax", lambda: first(params, *data), Program(first, (params, *data)))
        return Problem([contender(memory) for memory in MODES], gradient=unit)

    return build


def adapt_problem(size: Sizes) -> Problem:
    """Inner steps on one task."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(size)
    task, task_torch = ([leaf[0] for leaf in data] for data in (support, support_torch))
    twin = functools.partial(torch_ref.meta.adapt, loss_torch, optimizer=SGD_TORCH, num_steps=size.steps)
    return Problem(
        [
            ours(meta.adapt, (params, tuple(task)), num_steps=size.steps),
            Contender("torch_ref", "torch", lambda: twin(params_torch, tuple(task_torch))),
            Contender("torch.func", "torch", lambda: descend_torch(params_torch, *task_torch, size.steps)),
        ],
        gradient=gradient,
    )


def truncated_problem(size: Sizes) -> Problem:
    """Through the last of the steps."""
    inputs, theirs, gradient = setting(size)
    options: Any = {"num_steps": size.steps, "window": 1}
    twin = functools.partial(torch_ref.meta.truncated_gradient, loss_torch, optimizer=SGD_TORCH, **options)
    return Problem(
        [ours(meta.truncated_gradient, inputs, **options), Contender("torch_ref", "torch", lambda: twin(*theirs))],
        gradient=gradient,
    )


def step_problem(size: Sizes) -> Problem:
    """Through one step on one task."""
    (params, support, _), (params_torch, support_torch, _), gradient = setting(size)
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


SOME, ONE = "sinusoid {mlp}, {tasks} tasks", "sinusoid {mlp}, 1 of {tasks} tasks"


def row(name: str, build: Callable[[Sizes], Problem], template: str, **more: Any) -> Row:
    """Return a row of sinusoid regression."""
    return Row(name, template, build, {**TASKS, **more}, SMALL)


def deep(optimizer: Any, name: str, full: dict[str, int]) -> Row:
    """Return a row of the choices of what is kept."""
    template = "MLP {width} wide, {depth} layers, batch {batch}, {steps} steps of " + name
    small = {"width": 16, "batch": 32}
    return Row("maml_gradient by memory", template, memory_problem(optimizer), full, small, {"batch": 64})


WEIGHTED = "MLP {mlp}, {examples} examples, {steps} steps of {batch}"
TRAINING = {"mlp": (64, 16, 10), "examples": 1000, "steps": 100, "batch": 50}
SHORT = {"examples": 50, "steps": 20, "batch": 5}
DECAYS = f"{ONE}, {{steps}} steps, a decay a layer"

ROWS = [
    *(
        row("maml_gradient", meta_problem("maml_gradient"), f"{SOME}, {{steps}} steps", steps=steps)
        for steps in (1, 5, 20)
    ),
    deep(optax.sgd(0.1), "SGD", DEEP),
    deep(optax.adam(1e-3), "Adam", LONG),
    row("first_order_gradient", meta_problem("first_order_gradient"), f"{SOME}, {{steps}} steps", steps=5),
    row("implicit_gradient", implicit_problem, f"{SOME}, {{steps}} steps", **FEW, steps=5),
    row("hypergradient: implicit", bilevel_problem("implicit"), DECAYS, **FEW, steps=10),
    row("hypergradient: unrolled", bilevel_problem("unrolled"), DECAYS, **FEW, steps=10),
    row("meta_sgd_gradient", rates_problem, f"{SOME}, {{steps}} steps", steps=5),
    row("reptile_gradient", reptile_problem, f"{SOME}, {{steps}} steps", steps=5),
    row("adapt", adapt_problem, f"{ONE}, {{steps}} steps", steps=10),
    row("truncated_gradient", truncated_problem, f"{SOME}, the last of {{steps}} steps", steps=5),
    row(
        "evolution_gradient",
        evolution_problem,
        f"{ONE}, a window of {{steps}} steps, {{pairs}} pairs",
        steps=10,
        pairs=8,
    ),
    row("step_gradient", step_problem, ONE),
    *(
        Row("data_weights_gradient", f"{WEIGHTED}, nested", data_weights_problem, {**TRAINING, "steps": steps}, SHORT)
        for steps in (100, 1000)
    ),
    Row(
        "smoothness",
        WEIGHTED,
        smoothness_problem,
        {"mlp": (64, 16, 10), "examples": 50, "steps": 50, "batch": 5},
        {"steps": 10},
    ),
]

"""Rows of the family ``meta``: sinusoid regression, the network and the sizes of the MAML paper."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref.meta
from bench._meta_rivals import RIVALS, of_rival
from bench._row import Contender, Problem, Program, Row
from jaxgrad import meta
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from torch_ref.meta import _optimizers

RATE = 0.01
SGD, SGD_TORCH = optax.sgd(RATE), _optimizers.sgd(RATE)


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network on one task."""
    return jnp.mean((mlp_jax(params, x, jax.nn.relu) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network on one task, in torch."""
    return ((mlp_torch(params, x, torch.relu) - y) ** 2).mean()


class Setting(NamedTuple):
    """Parameters, supports and queries in both frameworks, and one gradient on all queries as the unit of cost."""

    jax: tuple[Any, Any, Any]
    torch: tuple[Any, Any, Any]
    gradient: Contender


def setting(quick: bool, sizes: tuple[int, ...] = (1, 40, 40, 1)) -> Setting:
    """Draw the network and the tasks."""
    tasks, shots, rng = 5 if quick else 25, 10, np.random.default_rng(0)
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    points = rng.uniform(-5, 5, (2, tasks, shots, 1))
    support, query = [(x, amplitude * np.sin(x - phase)) for x in points]
    trees = mlp_params(sizes, 0), support, query
    params, _, (x, y) = ours = to_jax(trees, np.float32)
    gradient = jax.jit(jax.grad(loss))
    data = params, x.reshape(-1, 1), y.reshape(-1, 1)
    return Setting(
        ours,
        to_torch(trees, np.float32),
        Contender("jax.grad", "jax", lambda: gradient(*data), Program(gradient, data)),
    )


def ours(fun: Callable[..., Any], args: tuple[Any, ...], **options: Any) -> Contender:
    """Return our contender, its static arguments bound."""
    call = functools.partial(fun, loss, optimizer=SGD, **options)
    return Contender("jaxgrad", "jax", lambda: call(*args), Program(call, args))


def descend_torch(params: Any, x: Any, y: Any, num_steps: int) -> Any:
    """Take the inner steps with torch.func, on one task."""
    for _ in range(num_steps):
        gradient = torch.func.grad(loss_torch)(params, x, y)
        params = jax.tree.map(lambda w, g: w - RATE * g, params, gradient)
    return params


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
                *([] if first_order or quick else [compiled_by_torch(by_func, theirs)]),
            ],
            gradient=gradient,
        )

    return build


SMALL = (1, 16, 1)
"""For rows whose twin forms the Hessian."""


def implicit_problem(quick: bool) -> Problem:
    """Five steps on the proximal problem, and a solve to the rounding."""
    inputs, theirs, gradient = setting(quick, SMALL)
    options = {"strength": 4.0, "num_steps": 5}
    twin = functools.partial(torch_ref.meta.implicit_gradient, loss_torch, optimizer=SGD_TORCH, **options)
    return Problem(
        [
            ours(meta.implicit_gradient, inputs, **options),
            Contender("torch_ref", "torch", lambda: twin(*theirs)),
        ],
        gradient=gradient,
    )


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


def compiled_by_torch(fun: Callable[..., Any], inputs: tuple[Any, ...]) -> Contender:
    """Return what `torch.compile` makes of a function of torch.func: the best that torch has."""

    def whole(params: Any, support: Any, query: Any) -> Any:
        # what torch.func returns is a function of torch's own, which torch.compile would not enter
        return fun(params, support, query)

    compiled = torch.compile(whole)
    return Contender("torch.compile", "torch", lambda: compiled(*inputs))


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


def decayed(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """The loss of a task, and a weight decay for every layer."""
    squares = {name: sum(jnp.sum(leaf**2) for leaf in layer.values()) for name, layer in params.items()}
    return loss(params, x, y) + sum(jnp.exp(hyper[name]) * squares[name] for name in squares)


def decayed_torch(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """The loss of a task, and a weight decay for every layer, in torch."""
    squares = {name: sum((leaf**2).sum() for leaf in layer.values()) for name, layer in params.items()}
    return loss_torch(params, x, y) + sum(torch.exp(hyper[name]) * squares[name] for name in squares)


def bilevel_problem(method: str) -> Callable[[bool], Problem]:
    """Return the build of a row: the gradient of another task's loss by the decays of its layers."""

    def build(quick: bool) -> Problem:
        (params, *data), (params_torch, *data_torch), gradient = setting(quick, SMALL)
        tasks, theirs = [[tuple(leaf[0] for leaf in one) for one in pair] for pair in (data, data_torch)]
        hyper, hyper_torch = jnp.zeros(()), torch.zeros(())
        given = params, dict.fromkeys(params, hyper), *tasks
        given_torch = params_torch, dict.fromkeys(params_torch, hyper_torch), *theirs
        # with a damping the ReLU network's Hessian is positive definite, and both solves are to the rounding
        options: Any = {"num_steps": 10, "method": method, "damping": 4.0}

        def judged(params: Any, hyper: Any, x: Any, y: Any) -> Any:
            del hyper
            return loss(params, x, y)

        def judged_torch(params: Any, hyper: Any, x: Any, y: Any) -> Any:
            del hyper
            return loss_torch(params, x, y)

        call = functools.partial(meta.hypergradient, decayed, judged, optimizer=SGD, num_iterations=100, **options)
        twin = functools.partial(
            torch_ref.meta.hypergradient, decayed_torch, judged_torch, optimizer=SGD_TORCH, **options
        )
        return Problem(
            [
                Contender("jaxgrad", "jax", lambda: call(*given), Program(call, given)),
                Contender("torch_ref", "torch", lambda: twin(*given_torch)),
            ],
            gradient=gradient,
        )

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


def shifted(params: Any, shift: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a wave that is lifted by the hyper-parameter."""
    return loss(params, x, y + shift)


def shifted_torch(params: Any, shift: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a wave that is lifted by the hyper-parameter, in torch."""
    return loss_torch(params, x, y + shift)


def evolution_problem(quick: bool) -> Problem:
    """One window of ten steps, with eight pairs of trajectories."""
    (params, support, query), (params_torch, support_torch, query_torch), gradient = setting(quick)
    inner, outer = (tuple(leaf[0] for leaf in data) for data in (support, query))
    inner_torch, outer_torch = (tuple(leaf[0] for leaf in data) for data in (support_torch, query_torch))
    shifts = np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32) * 0.1
    hyper, samples = jnp.zeros(1), jnp.asarray(shifts)
    options: Any = {"num_steps": 10, "scale": 0.1}
    call = functools.partial(meta.evolution_gradient, shifted, shifted, optimizer=SGD, **options)
    twin = functools.partial(
        torch_ref.meta.evolution_gradient, shifted_torch, shifted_torch, optimizer=SGD_TORCH, **options
    )
    given, given_torch = (params, hyper, inner, outer), (params_torch, torch.zeros(1), inner_torch, outer_torch)

    def estimate(params: Any, hyper: Any, inner: Any, outer: Any, samples: Any) -> Any:
        return call(params, hyper, inner, outer, samples=samples).estimate

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: estimate(*given, samples), Program(estimate, (*given, samples))),
            Contender("torch_ref", "torch", lambda: twin(*given_torch, samples=[torch.as_tensor(shifts)])[0]),
        ],
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


class Weighted(NamedTuple):
    """A training on weighted examples in both frameworks: parameters, examples, places, validation."""

    jax: tuple[Any, Any, Any, Any]
    torch: tuple[Any, Any, Any, Any]
    gradient: Contender


def weighted(examples: int, steps: int, batch: int) -> Weighted:
    """Draw the network, the examples and the order in which they are seen."""
    rng = np.random.default_rng(0)
    order = np.stack([rng.permutation(examples)[:batch] for _ in range(steps)])
    data = [(rng.normal(size=(n, 64)), rng.normal(size=(n, 10))) for n in (examples, 100)]
    params, train, validation = ours = to_jax((mlp_params((64, 16, 10), 0), *data), np.float32)
    theirs = to_torch((mlp_params((64, 16, 10), 0), *data), np.float32)
    gradient, given = jax.jit(jax.grad(loss)), (params, *(leaf[:batch] for leaf in train))
    return Weighted(
        (ours[0], train, jnp.asarray(order), validation),
        (theirs[0], theirs[1], torch.as_tensor(order), theirs[2]),
        Contender("jax.grad", "jax", lambda: gradient(*given), Program(gradient, given)),
    )


def by_scan(params: Any, train: Any, order: Any, validation: Any) -> Any:
    """Differentiate a plain scan over the steps, which keeps whatever they computed."""

    def after(weights: Any) -> Any:
        def step(params: Any, places: Any) -> Any:
            def objective(params: Any) -> Any:
                losses = jax.vmap(lambda *one: loss(params, *one))(*(leaf[places] for leaf in train))
                return jnp.mean(weights[places] * losses)

            return jax.tree.map(lambda w, g: w - RATE * g, params, jax.grad(objective)(params)), None

        return loss(jax.lax.scan(step, params, order)[0], *validation)

    return jax.grad(after)(jnp.ones(len(train[0])))


def by_autograd(params: Any, train: Any, order: Any, validation: Any) -> Any:
    """Keep torch's graph of all steps, whole batches at a time."""
    weights = torch.ones(len(train[0]), requires_grad=True)
    leaves, structure = jax.tree.flatten(params)
    fast = [leaf.clone().requires_grad_() for leaf in leaves]
    for places in order:
        x, y = (leaf[places] for leaf in train)
        errors = ((mlp_torch(jax.tree.unflatten(structure, fast), x, torch.relu) - y) ** 2).mean(1)
        slopes = torch.autograd.grad((weights[places] * errors).mean(), fast, create_graph=True)
        fast = [w - RATE * g for w, g in zip(fast, slopes, strict=True)]
    return torch.autograd.grad(loss_torch(jax.tree.unflatten(structure, fast), *validation), weights)[0]


def data_weights_problem(steps: int) -> Callable[[bool], Problem]:
    """Return the build of a row: the derivative of a training by the weights of its examples."""

    def build(quick: bool) -> Problem:
        problem = weighted(50, 20, 5) if quick else weighted(1000, steps, 50)
        scanned = jax.jit(by_scan)
        in_torch = Contender("torch", "torch", lambda: by_autograd(*problem.torch))
        return Problem(
            [
                ours(meta.data_weights_gradient, problem.jax, memory="nested"),
                Contender("lax.scan", "jax", lambda: scanned(*problem.jax), Program(scanned, problem.jax)),
                # a thousand steps take torch half a minute
                *([in_torch] if quick or steps <= 100 else []),
            ],
            gradient=problem.gradient,
        )

    return build


def smoothness_problem(quick: bool) -> Problem:
    """Whether that derivative can be trusted, at a size that the twin's loops get through."""
    problem = weighted(50, 10 if quick else 50, 5)
    twin = functools.partial(torch_ref.meta.smoothness, loss_torch, optimizer=SGD_TORCH, step=1.0)
    mine = ours(meta.smoothness, problem.jax, step=1.0)
    return Problem(
        [
            dataclasses.replace(mine, read=lambda found: found.predicted),
            Contender("torch_ref", "torch", lambda: twin(*problem.torch), read=lambda found: found.predicted),
        ],
        gradient=problem.gradient,
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

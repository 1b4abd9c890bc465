"""Cases M and F3 to F5: meta-learning, and gradients through one optimizer step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import meta
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families import _sinusoid
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

SMALL_STEP = optax.sgd(0.001)
STEP = optax.sgd(0.1)
NO_STEP = optax.sgd(0.0)
ADAM_STEP = optax.adam(0.05)
OUTER = optax.adam(0.001)


def output(params: Any, x: Any) -> Any:
    """Return the output of the 2-5-1 ReLU network for one point: the loss of both levels."""
    return mlp_jax(params, x, jax.nn.relu)[0]


def output_torch(params: Any, x: Any) -> Any:
    """Return the same in torch."""
    import torch

    return mlp_torch(params, x, torch.relu)[0]


def mean_square(params: Any, x: Any, y: Any) -> Any:
    """Return the mean squared error of the tanh network."""
    return ((mlp_jax(params, x) - y) ** 2).mean()


def mean_square_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the same in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


@case("M1", "MAML on the 2-5-1 network, three tasks, Adam outside")
def maml(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Inputs ``[t+1, t+1]``, meta-inputs ``[t+2, t+2]``; the gradient, and the weights after three outer steps."""
    import torch

    import torch_ref.meta
    from torch_ref.meta import _optimizers

    points = np.array([[t + 1.0, t + 1.0] for t in range(3)])
    trees = mlp_params((2, 5, 1), 0), points, points + 1
    (p, support, query), theirs = to_jax(trees, dtype), to_torch(trees, dtype)
    inner: dict[str, Any] = {"optimizer": _optimizers.sgd(0.001), "num_steps": 1}

    def value_and_gradient(params: Any) -> Any:
        return meta.value_and_maml_gradient(output, params, support, query, optimizer=SMALL_STEP, num_steps=1)

    @jax.jit
    def outer_step(slopes: Any, state: Any, params: Any) -> Any:
        updates, state = OUTER.update(slopes, state, params)
        return optax.apply_updates(params, updates), state

    def after_outer_steps() -> Any:
        params, state = p, jax.jit(OUTER.init)(p)
        for _ in range(3):
            params, state = outer_step(value_and_gradient(params)[1], state, params)
        return params

    def after_outer_steps_torch() -> Any:
        params = jax.tree.map(torch.clone, theirs[0])
        outer = torch.optim.Adam(jax.tree.leaves(params), lr=0.001)
        for _ in range(3):
            slopes = torch_ref.meta.maml_gradient(output_torch, params, *theirs[1:], **inner)
            for leaf, slope in zip(jax.tree.leaves(params), jax.tree.leaves(slopes), strict=True):
                leaf.grad = slope
            outer.step()
        return params

    return [
        Quantity(
            "meta-loss and gradient",
            lambda: value_and_gradient(p),
            lambda: torch_ref.meta.value_and_maml_gradient(output_torch, *theirs, **inner),
        ),
        Quantity("weights after three outer Adam steps", after_outer_steps, after_outer_steps_torch),
    ]


class _Tasks:
    """Three regression tasks for the tanh network, in both frameworks."""

    def __init__(self, dtype: np.dtype) -> None:
        rng = np.random.default_rng(3)
        support, query = [(rng.normal(size=(3, n, 2)), rng.normal(size=(3, n, 1))) for n in (6, 8)]
        trees = mlp_params((2, 8, 1), 1), support, query
        self.jax, self.torch = to_jax(trees, dtype), to_torch(trees, dtype)

    def plain_gradient_torch(self) -> Any:
        """Return torch's gradient of the mean query loss, without any adaptation."""
        import torch

        params, _, query = self.torch
        params = jax.tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
        loss = sum(mean_square_torch(params, *task) for task in zip(*query, strict=True)) / len(query[0])
        slopes = torch.autograd.grad(loss, jax.tree.leaves(params))
        return jax.tree.unflatten(jax.tree.structure(params), slopes)


@case("M2", "MAML through k inner steps, full second order")
def several_steps(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Five steps of SGD and three of Adam; no step, and a step of size 0, give the plain gradient."""
    import torch_ref.meta
    from torch_ref.meta import _optimizers

    tasks = _Tasks(dtype)

    def ours(optimizer: Any, num_steps: int) -> Any:
        return lambda: meta.maml_gradient(mean_square, *tasks.jax, optimizer=optimizer, num_steps=num_steps)

    def theirs(optimizer: Any, num_steps: int) -> Any:
        options = {"optimizer": optimizer, "num_steps": num_steps}
        return lambda: torch_ref.meta.maml_gradient(mean_square_torch, *tasks.torch, **options)

    return [
        Quantity("five steps of SGD", ours(STEP, 5), theirs(_optimizers.sgd(0.1), 5)),
        Quantity("three steps of Adam", ours(ADAM_STEP, 3), theirs(_optimizers.adam(0.05), 3)),
        Quantity("no step: the plain gradient", ours(STEP, 0), tasks.plain_gradient_torch),
        Quantity("a step of size 0: the plain gradient", ours(NO_STEP, 1), tasks.plain_gradient_torch),
    ]


@case("M3", "First-order MAML: the gradient at the adapted weights")
def first_order(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against the twin, and against the mean of ``jax.grad`` at the weights that `meta.adapt` returns."""
    import torch_ref.meta
    from torch_ref.meta import _optimizers

    tasks = _Tasks(dtype)
    params, support, query = tasks.jax

    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def gradients(params: Any, support: Any, query: Any) -> Any:
        fast = meta.adapt(mean_square, params, support, optimizer=STEP, num_steps=3)
        return jax.grad(mean_square)(fast, *query)

    @jax.jit
    def at_adapted(params: Any, support: Any, query: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.mean(0), gradients(params, support, query))

    def twin() -> Any:
        options: dict[str, Any] = {"optimizer": _optimizers.sgd(0.1), "num_steps": 3}
        return torch_ref.meta.first_order_gradient(mean_square_torch, *tasks.torch, **options)

    return [
        Quantity(
            "first-order gradient",
            lambda: meta.first_order_gradient(mean_square, *tasks.jax, optimizer=STEP, num_steps=3),
            twin,
        ),
        Quantity("gradient at the adapted weights", lambda: at_adapted(params, support, query), twin),
    ]


@case("M4", "The adapted and the original network are one function of their weights")
def one_function(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Outputs at the adapted weights: ours by the function, torch's by a module that loads or is called with them."""
    import torch

    import torch_ref.meta
    from torch_ref.meta import _optimizers

    tasks = _Tasks(dtype)
    (params, support, query), (params_torch, support_torch, query_torch) = tasks.jax, tasks.torch
    task = to_jax(tuple(np.asarray(leaf)[0] for leaf in support))
    task_torch = tuple(leaf[0] for leaf in support_torch)
    layers = [torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)]
    module = torch.nn.Sequential(*layers).to(query_torch[0].dtype)

    def named(weights: Any) -> dict[str, Any]:
        return {f"{2 * i}.{key}": leaf for i in range(2) for key, leaf in weights[f"layer{i}"].items()}

    network = jax.jit(mlp_jax)

    def outputs(num_steps: int) -> Any:
        """Return the network's answers at the weights that some steps give."""
        return network(meta.adapt(mean_square, params, task, optimizer=STEP, num_steps=num_steps), query[0])

    def adapted_torch(num_steps: int) -> Any:
        rule = _optimizers.sgd(0.1)
        fast = torch_ref.meta.adapt(mean_square_torch, params_torch, task_torch, optimizer=rule, num_steps=num_steps)
        return jax.tree.map(torch.Tensor.detach, fast)

    def loaded(weights: Any) -> Any:
        module.load_state_dict(named(weights))
        return module(query_torch[0]).detach()

    def called_with(weights: Any) -> Any:
        return torch.func.functional_call(module, named(weights), (query_torch[0],)).detach()

    return [
        Quantity(
            "adapted weights, loaded into a module",
            lambda: outputs(3),
            lambda: loaded(adapted_torch(3)),
        ),
        Quantity(
            "adapted weights, module untouched",
            lambda: outputs(3),
            lambda: called_with(adapted_torch(3)),
        ),
        Quantity("no step: the original weights", lambda: outputs(0), lambda: loaded(params_torch)),
    ]


@case("M5", "Sinusoid regression: adapt to a new sine from 10 points")
def sinusoid(dtype: np.dtype) -> list[Quantity | Criterion]:
    """One meta-gradient of the 1-40-40-1 network against torch; then a meta-training, and what 10 points give."""
    import torch_ref.meta
    from torch_ref.meta import _optimizers

    trees = _sinusoid.initial_params(), *_sinusoid.draw_tasks(np.random.default_rng(5), 5)
    inputs, theirs = to_jax(trees, dtype), to_torch(trees, dtype)
    inner: dict[str, Any] = {"optimizer": _optimizers.sgd(_sinusoid.RATE), "num_steps": 1}
    return [
        Quantity(
            "one meta-gradient, 5 sines",
            lambda: meta.maml_gradient(_sinusoid.loss, *inputs, optimizer=_sinusoid.INNER, num_steps=1),
            lambda: torch_ref.meta.maml_gradient(_sinusoid.loss_torch, *theirs, **inner),
        ),
        Criterion(
            "the error after ten steps is below a quarter of the error before", _sinusoid.measure, _sinusoid.draw
        ),
    ]


def foo(params: Any, x: Any) -> Any:
    """Return ``sum((W^2) @ x)``."""
    return jnp.sum((params["W"] ** 2) @ x)


def foo_torch(params: Any, x: Any) -> Any:
    """Return the same in torch."""
    return ((params["W"] ** 2) @ x).sum()


W = np.array([[1.0289456844329834, 0.9332138299942017]])
X = np.array([-0.04671746864914894, 0.5176782011985779])


def _through_a_step(dtype: np.dtype, truncated: bool, w: np.ndarray, x: np.ndarray, truth: Any, name: str) -> Quantity:
    """Return the gradient of ``foo`` after one SGD step of size 0.1, with its truth."""
    import torch_ref.meta
    from torch_ref.meta import _optimizers

    (p, data), (pt, data_torch) = (move(({"W": w}, x), dtype) for move in (to_jax, to_torch))
    rule = _optimizers.sgd(0.1)
    return Quantity(
        name,
        lambda: meta.step_gradient(foo, p, data, optimizer=STEP, truncated=truncated),
        lambda: torch_ref.meta.step_gradient(foo_torch, pt, data_torch, optimizer=rule, truncated=truncated),
        truth={"W": truth},
    )


@case("F3", "The gradient through one SGD step, in full")
def full_step(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The closed form ``(1 - 2 a x)^2 2 W x``."""
    w, x = np.random.default_rng(0).normal(size=(1, 2)), np.random.default_rng(1).normal(size=2)
    return [_through_a_step(dtype, False, w, x, (1 - 0.2 * x) ** 2 * 2 * w * x, "(1 - 2 a x)^2 2 W x")]


@case("F4", "The gradient through one SGD step, truncated")
def truncated_step(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The closed form ``(1 - 2 a x) 2 W x``."""
    w, x = np.random.default_rng(0).normal(size=(1, 2)), np.random.default_rng(1).normal(size=2)
    return [_through_a_step(dtype, True, w, x, (1 - 0.2 * x) * 2 * w * x, "(1 - 2 a x) 2 W x")]


@case("F5", "The printed numbers of a gradient, and of both through a step")
def printed(dtype: np.dtype) -> list[Quantity | Criterion]:
    """W, x and a = 0.1 as given, float64."""
    import torch

    (p, x), (pt, xt) = (move(({"W": W}, X), dtype) for move in (to_jax, to_torch))

    def gradient_torch() -> Any:
        w = pt["W"].clone().requires_grad_()
        return {"W": torch.autograd.grad(foo_torch({"W": w}, xt), w)[0]}

    plain, full, truncated = (
        np.array([numbers])
        for numbers in (
            [-0.09613947550835, 0.9662089136900676],
            [-0.09794442574189435, 0.7764921976194867],
            [-0.0970377540949514, 0.8661718552058463],
        )
    )
    return [
        Quantity("gradient", lambda: jax.jit(jax.grad(foo))(p, x), gradient_torch, truth={"W": plain}),
        _through_a_step(dtype, False, W, X, full, "full"),
        _through_a_step(dtype, True, W, X, truncated, "truncated"),
    ]

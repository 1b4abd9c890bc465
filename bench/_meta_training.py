"""Rows of the family ``meta`` about a whole training: the derivative by the weights of its examples."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.meta
from bench._inputs import to_jax, to_torch
from bench._meta_tasks import RATE, SGD_TORCH, loss, loss_torch, ours
from bench._row import Contender, Problem, Program, Sizes
from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_params, mlp_torch

__all__ = ["data_weights_problem", "smoothness_problem"]


class Weighted(NamedTuple):
    """A training on weighted examples in both frameworks: parameters, examples, places, validation."""

    jax: tuple[Any, Any, Any, Any]
    torch: tuple[Any, Any, Any, Any]
    gradient: Contender


def weighted(size: Sizes) -> Weighted:
    """Draw the network, the examples and the order in which they are seen."""
    examples, steps, batch = size.examples, size.steps, size.batch
    rng = np.random.default_rng(0)
    order = np.stack([rng.permutation(examples)[:batch] for _ in range(steps)])
    data = [(rng.normal(size=(n, size.mlp[0])), rng.normal(size=(n, size.mlp[-1]))) for n in (examples, 100)]
    params, train, validation = ours = to_jax((mlp_params(size.mlp, 0), *data), size.dtype)
    theirs = to_torch((mlp_params(size.mlp, 0), *data), size.dtype)
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

    return jax.grad(after)(jnp.ones(len(train[0]), train[0].dtype))


def by_autograd(params: Any, train: Any, order: Any, validation: Any) -> Any:
    """Keep torch's graph of all steps, whole batches at a time."""
    weights = torch.ones(len(train[0]), dtype=train[0].dtype, requires_grad=True)
    leaves, structure = jax.tree.flatten(params)
    fast = [leaf.clone().requires_grad_() for leaf in leaves]
    for places in order:
        x, y = (leaf[places] for leaf in train)
        errors = ((mlp_torch(jax.tree.unflatten(structure, fast), x, torch.relu) - y) ** 2).mean(1)
        slopes = torch.autograd.grad((weights[places] * errors).mean(), fast, create_graph=True)
        fast = [w - RATE * g for w, g in zip(fast, slopes, strict=True)]
    return torch.autograd.grad(loss_torch(jax.tree.unflatten(structure, fast), *validation), weights)[0]


def data_weights_problem(size: Sizes) -> Problem:
    """The derivative of a training by the weights of its examples."""
    problem, scanned = weighted(size), jax.jit(by_scan)
    in_torch, possible = Contender("torch", "torch", lambda: by_autograd(*problem.torch)), size.steps <= 100
    return Problem(
        [
            ours(meta.data_weights_gradient, problem.jax, memory="nested"),
            Contender("lax.scan", "jax", lambda: scanned(*problem.jax), Program(scanned, problem.jax)),
            *([in_torch] if possible else []),
        ],
        gradient=problem.gradient,
        absent={} if possible else {"torch": f"{size.steps} steps take it half a minute a call"},
    )


def smoothness_problem(size: Sizes) -> Problem:
    """Whether that derivative can be trusted, at a size that the twin's loops get through."""
    problem = weighted(size)
    twin = functools.partial(torch_ref.meta.smoothness, loss_torch, optimizer=SGD_TORCH, step=1.0)
    mine = ours(meta.smoothness, problem.jax, step=1.0)
    return Problem(
        [
            dataclasses.replace(mine, read=lambda found: found.predicted),
            Contender("torch_ref", "torch", lambda: twin(*problem.torch), read=lambda found: found.predicted),
        ],
        gradient=problem.gradient,
    )

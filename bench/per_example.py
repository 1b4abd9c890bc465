"""Rows of the family ``per_example``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bench._row import Contender, Problem, Program, Row
from jaxgrad import per_example
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._networks import mlp_jax, mlp_params, mlp_torch


def loss(params: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of the ReLU network on one example."""
    return -jnp.sum(y * jax.nn.log_softmax(mlp_jax(params, x, jax.nn.relu)))


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of the ReLU network on one example, in torch."""
    return -(y * torch.log_softmax(mlp_torch(params, x, torch.relu), -1)).sum()


def clip_rows_torch(loss_one: Any, params: Any, x: Any, y: Any, clip_norm: float) -> Any:
    """Materialise with torch.func, clip, and sum."""
    rows = torch.func.vmap(torch.func.grad(loss_one), in_dims=(None, 0, 0))(params, x, y)
    flat = [g for layer in rows.values() for g in layer.values()]
    norms = sum(g.flatten(1).square().sum(1) for g in flat).sqrt()
    scales = (clip_norm / norms).clamp(max=1.0)
    return {name: {k: torch.einsum("b,b...->...", scales, g) for k, g in layer.items()} for name, layer in rows.items()}


def clip_rows(params: Any, x: Any, y: Any, clip_norm: float) -> Any:
    """Materialise with ``vmap(grad)``, clip, and sum: what JAX users write today."""
    rows = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, x, y)
    norms = jnp.sqrt(sum(jnp.sum(g.reshape(g.shape[0], -1) ** 2, 1) for g in jax.tree.leaves(rows)))
    scales = jnp.minimum(1, clip_norm / norms)
    return jax.tree.map(lambda g: jnp.tensordot(scales, g, 1), rows)


def mean_loss(params: Any, x: Any, y: Any) -> Any:
    """Mean of the losses of a batch."""
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(mlp_jax(params, x, jax.nn.relu)), -1))


def mlp_problem(quick: bool) -> Problem:
    """Clipped sum on a dense network against both frameworks' ``vmap(grad)``."""
    sizes, batch = ((64, 128, 10), 32) if quick else ((784, 512, 512, 10), 256)
    rng = np.random.default_rng(0)
    trees = (mlp_params(sizes, 0), rng.normal(size=(batch, sizes[0])), np.eye(sizes[-1])[np.arange(batch) % sizes[-1]])
    p, x, y = to_jax(trees, np.float32)
    pt, xt, yt = to_torch(trees, np.float32)
    ours = functools.partial(per_example.clipped_sum, loss, clip_norm=1.0)
    rows, gradient = jax.jit(functools.partial(clip_rows, clip_norm=1.0)), jax.jit(jax.grad(mean_loss))
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, x, y), Program(ours, (p, x, y)), read=lambda result: result[0]),
            Contender("jax.vmap(grad)", "jax", lambda: rows(p, x, y), Program(rows, (p, x, y))),
            Contender("torch.func", "torch", lambda: clip_rows_torch(loss_torch, pt, xt, yt, 1.0)),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


ROWS = [Row("clipped_sum", "MLP 784-512-512-10, batch 256", mlp_problem)]

"""What the commands that train on scikit-learn's digits share: data, a network and its losses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench._command import leave
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params

__all__ = [
    "accuracy",
    "digits",
    "drawn",
    "loss_of_one",
    "mean_loss",
    "network",
    "objective",
    "trained",
]


def digits(train: int, test: int, seed: int = 0) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return digits, pixels from 0 to 1, for training and for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    if train + test > len(y):
        leave("bench", f"there are {len(y)} digits, fewer than the {train} + {test} that are asked for")
    order = np.random.default_rng(seed).permutation(len(y))[: train + test]
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int32)
    return (jnp.asarray(x[:train]), jnp.asarray(y[:train])), (jnp.asarray(x[train:]), jnp.asarray(y[train:]))


def drawn(sizes: tuple[int, ...], seed: int) -> Any:
    """Return the first parameters of a network, in float32."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), mlp_params(sizes, seed))


def network(params: Any, x: Any) -> Any:
    """The logits of a tanh network."""
    return mlp_jax(params, x)


def loss_of_one(params: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of one digit."""
    return optax.softmax_cross_entropy_with_integer_labels(network(params, x), y)


def mean_loss(params: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy."""
    return jnp.mean(loss_of_one(params, x, y))


def objective(params: Any, x: Any, y: Any, decay: Any) -> Any:
    """Mean cross-entropy, and half the weight decay times the squared norm of the parameters."""
    return mean_loss(params, x, y) + 0.5 * decay * optax.tree.norm(params, squared=True)


def trained(params: Any, x: Any, y: Any, decay: Any, steps: int, rate: float = 1e-2) -> Any:
    """Train by Adam on the whole batch, with a rate that falls to zero, so that it ends in a minimum."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(jax.grad(objective)(params, x, y, decay), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[0][0]


def accuracy(params: Any, x: Any, y: Any) -> float:
    """Return the share of digits that are told right."""
    return float(jnp.mean(jnp.argmax(network(params, x), -1) == y))

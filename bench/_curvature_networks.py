"""The networks of the rows of ``curvature``: models of a whole batch, the same in JAX and in torch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bench import _modules, _per_example_models
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

__all__ = ["Network", "cnn", "loss_of", "loss_of_torch", "mlp"]


class Network(NamedTuple):
    """A classifier, its parameters and a vector, inputs and class numbers, as NumPy."""

    model: Callable[..., Any]
    model_torch: Callable[..., Any]
    module_torch: Callable[[Any], Any]
    """Makes a torch module of the parameters, for the rivals that work on modules."""
    params: Any
    vector: Any
    inputs: np.ndarray
    labels: np.ndarray


def loss_of(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the mean cross-entropy of a model, in JAX."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(model(params, x)), y[:, None], 1))

    return loss


def loss_of_torch(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the mean cross-entropy of a model, in torch."""
    return lambda params, x, y: torch.nn.functional.cross_entropy(model(params, x), y)


def mlp(sizes: tuple[int, ...], batch: int) -> Network:
    """A ReLU network."""
    rng = np.random.default_rng(0)
    return Network(
        lambda p, x: mlp_jax(p, x, jax.nn.relu),
        lambda p, x: mlp_torch(p, x, torch.relu),
        _modules.Dense,
        mlp_params(sizes, 0),
        mlp_params(sizes, 1),
        rng.normal(size=(batch, sizes[0])),
        np.arange(batch) % sizes[-1],
    )


def convolved(p: Any, x: Any) -> Any:
    """Apply two convolutions, each with a pooling, and a dense head to images with their channels last."""
    for name in ("conv0", "conv1"):
        x = jax.lax.conv_general_dilated(
            x, p[name]["weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC")
        )
        x = jax.nn.relu(x + p[name]["bias"][None, None, None])
        x = jnp.maximum(x[:, 0::2], x[:, 1::2])
        x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return mlp_jax(p["head"], x.transpose(0, 3, 1, 2).reshape(len(x), -1), jax.nn.relu)


def convolved_torch(p: Any, x: Any) -> Any:
    """Apply the same in torch."""
    x = x.permute(0, 3, 1, 2)
    for name in ("conv0", "conv1"):
        x = torch.nn.functional.conv2d(x, p[name]["weight"], p[name]["bias"], padding=1)
        x = torch.nn.functional.max_pool2d(torch.relu(x), 2)
    return mlp_torch(p["head"], x.reshape(len(x), -1), torch.relu)


def cnn(side: int, channels: tuple[int, int], hidden: int, batch: int) -> Network:
    """The CNN of the rows of ``per_example``, of a whole batch."""
    drawn = _per_example_models.cnn(side, channels, hidden, batch)
    rng = np.random.default_rng(1)
    return Network(
        convolved,
        convolved_torch,
        _modules.Convolutional,
        drawn.params,
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), drawn.params),
        drawn.batch[0],
        np.arange(batch) % 10,
    )

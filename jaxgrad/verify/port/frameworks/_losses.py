"""The losses that a pair knows by name, written once for either framework."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad.verify.port.frameworks._loss_names import LOSS_NAMES

__all__ = ["named", "names"]


IGNORED = -100
"""The label that torch's cross-entropy leaves out of its mean, unless it is told another one."""


def _mse_torch(output: Any, target: Any) -> Any:
    """The mean of squared differences."""
    return ((output - target) ** 2).mean()


def _mse_jax(output: Any, target: Any) -> Any:
    """The mean of squared differences."""
    return jnp.mean((output - target) ** 2)


def _cross_entropy_torch(output: Any, target: Any) -> Any:
    """The mean negative log-likelihood of integer labels; classes lie along the last axis."""
    from torch.nn import functional

    return functional.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def _cross_entropy_jax(output: Any, target: Any) -> Any:
    """The mean negative log-likelihood of integer labels; classes lie along the last axis."""
    rows, kept = jax.nn.log_softmax(output, axis=-1), target != IGNORED
    found = jnp.take_along_axis(rows, jnp.where(kept, target, 0)[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(kept, found, 0)) / jnp.sum(kept).astype(found.dtype)


def _mean_square_torch(output: Any, *target: Any) -> Any:
    """Half the mean of the squared output, for a model without a target."""
    del target
    return 0.5 * (output**2).mean()


def _mean_square_jax(output: Any, *target: Any) -> Any:
    """Half the mean of the squared output, for a model without a target."""
    del target
    return 0.5 * jnp.mean(output**2)


LOSSES = dict(
    zip(
        LOSS_NAMES,
        (
            (_mse_torch, _mse_jax),
            (_cross_entropy_torch, _cross_entropy_jax),
            (_mean_square_torch, _mean_square_jax),
        ),
        strict=True,
    )
)


def names() -> str:
    """Return the names, for messages."""
    return ", ".join(map(repr, LOSSES))


def named(loss: Any) -> tuple[Any, Any]:
    """Return the pair of functions of what the user gave.

    Raises:
        TypeError: If it is neither a known name nor a pair of functions.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if isinstance(loss, tuple | list) and len(loss) == 2 and all(map(callable, loss)):
        return loss[0], loss[1]
    message = f"loss must be (torch function, JAX function) of (output, target), or one of {names()}; got {loss!r}"
    raise TypeError(message)


def one(loss: Any, index: int) -> Any:
    """Return the loss of one side, 0 for torch and 1 for JAX; the other side's may be missing.

    Raises:
        TypeError: If it is neither a known name nor a pair with a function there.
    """
    if isinstance(loss, tuple | list) and len(loss) == 2 and callable(loss[index]):
        return loss[index]
    return named(loss)[index]

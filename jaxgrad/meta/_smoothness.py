"""Whether the derivative of a training by the weights of its examples says anything about training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._reweighted import STATIC, known_places, reweighted

__all__ = ["Smoothness", "smoothness"]

LEAST = 0.5
"""The least agreement that is trusted: halfway from chance, which is 0, to all movement going on, which is 1."""

FACTOR = 2.0
"""The predicted and the actual change of a step that is trusted have one sign, and differ by this at most.

A curved loss leaves its tangent by that much and its gradient still points downhill; in chaotic training the gradient
grows with every step while the changes do not, and the two differ by orders of magnitude.
"""


class Smoothness(NamedTuple):
    """What `smoothness` returns."""

    smoothness: Array
    """From -1 to 1: the share of the parameters' movement that goes on in its direction, less what turns back."""
    predicted: Array
    """The change of the validation loss that the gradient foretells for the step."""
    actual: Array
    """The change of the validation loss that retraining gives."""
    trusted: Array
    """A bool: whether ``smoothness`` is at least 0.5, and the changes agree in sign and to a factor of two."""


@known_places
@jit("loss_fn", *STATIC)
def smoothness(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    examples: Tree,
    indices: ArrayLike,
    validation: Tree,
    *,
    optimizer: optax.GradientTransformation,
    validation_loss: Callable[Concatenate[T, ...], Array] | None = None,
    weights: ArrayLike | None = None,
    direction: ArrayLike | None = None,
    step: ArrayLike = 0.1,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    axis_name: AxisName = None,
) -> Smoothness:
    r"""Say whether `data_weights_gradient` can be trusted, by training at three weightings along a line.

    With :math:`\theta(w)` the trained parameters, :math:`\Delta_0 = \theta(w + h v) - \theta(w)` and
    :math:`\Delta_1 = \theta(w + 2 h v) - \theta(w + h v)`,

    .. math:: S = \frac{\sum_j |\Delta_{0j}| \, \text{sign}(\Delta_{0j}) \, \text{sign}(\Delta_{1j})}
              {\sum_j |\Delta_{0j}|}, \qquad
              \text{predicted} = h \, g^T v, \qquad \text{actual} = V(\theta(w + h v)) - V(\theta(w))

    The derivative of a training is exact and may be worthless: where training is chaotic (a learning rate at the edge
    of stability is enough) it is the slope of the finest wrinkles, and the scores of the examples look like scores and
    are noise. A smooth training moves on in the direction in which it began to move, and as far as its gradient says.
    This looks along one direction; `jax.vmap` looks along several.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where training starts.
        examples: The ``N`` training examples, along the leading axis of every leaf.
        indices: Of shape ``(num_steps, batch)``: which examples each step sees; -1 is an empty place.
        validation: What ``validation_loss`` is given.
        optimizer: An optax transformation. Static.
        validation_loss: ``validation_loss(params, *validation) -> ()``; ``None``: the mean of ``loss_fn``.
        weights: Of shape ``(N,)``: the first of the three weightings. ``None``: ones.
        direction: Of shape ``(N,)``: the line. ``None``: against the gradient, its largest entry scaled to 1.
        step: The length ``h``. In float32 it must not be so small that the movement drowns in rounding.
        inner_wrt: Which leaves training moves; ``None``: all.
        memory: What is kept of the steps, as in `data_weights_gradient`.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch of each step lies;
            ``None``: training is the device's own.

    Returns:
        A `Smoothness`. ``trusted`` is false where a training diverges, and for a direction of zeros, which tries
        nothing; a training that does not move along the line at all has smoothness 1.

    Raises:
        ValueError: As `data_weights_gradient`, or if ``direction`` is not one number for each example.
        TypeError: As `data_weights_gradient`, or if ``direction`` is not floating-point, or ``step`` no number.

    Cost:
        `data_weights_gradient` and three trainings, at once: about 7 gradients a step.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return 0.5 * (params["w"] - x) ** 2
        >>> params, examples = {"w": jnp.array(0.0)}, (jnp.array([1.0, -1.0]),)
        >>> order = jnp.zeros((20, 2), int).at[:, 1].set(1)
        >>> found = jaxgrad.meta.smoothness(loss, params, examples, order, (jnp.ones(1),), optimizer=optax.sgd(0.5))
        >>> found.smoothness.item(), found.trusted.item()
        (1.0, True)

    References:
        Engstrom et al. (2025), Optimizing ML training with metagradient descent, arXiv:2503.13751, section 3.
    """
    _check.number(step, "step")
    options: Any = {"optimizer": optimizer, "validation_loss": validation_loss, "weights": weights, "memory": memory}
    options |= {"inner_wrt": inner_wrt, "axis_name": axis_name}
    training = reweighted(loss_fn, params, examples, indices, validation, **options)
    slope = training.gradient()[2].astype(training.weights.dtype)
    # where every device has examples of its own, the direction is that of all devices together
    axes: Any = tuple(name for name in _sharding.names(axis_name) if name in _sharding.varying(slope)) or None
    line = _against(slope, axes) if direction is None else _direction(direction, training.weights)
    length = jnp.asarray(step, line.dtype)

    def end(times: Array) -> tuple[Array, Params]:
        # nothing goes back through these three
        value, after = training.run(training.weights + times * length * line, memory="checkpoint")
        return value, after.params

    values, ends = jax.vmap(end)(jnp.arange(3, dtype=line.dtype))
    agreement = _agreement(_tree.widened(ends))
    predicted = _sharding.sum_over(jnp.vdot(slope, length * line), axes)
    actual = values[1] - values[0]
    tries = _sharding.largest(jnp.abs(length * line).max(), axes) > 0
    trusted = tries & (agreement >= LEAST) & _agree(predicted, actual)
    return Smoothness(agreement, predicted, actual, trusted)


def _against(slope: Array, axes: Any) -> Array:
    """Return the direction of descent, its largest entry of size 1; zeros for zeros."""
    size = _sharding.largest(jnp.abs(slope).max(), axes)
    return -slope / jnp.where(size == 0, 1, size)


def _direction(direction: Any, weights: Array) -> Array:
    """Return the given direction.

    Raises:
        TypeError: If it is no real floating-point array.
        ValueError: If it has another shape than the weights.
    """
    _check.floating(direction=direction)
    if jnp.shape(direction) != weights.shape:
        message = (
            f"direction must be one number for each of the {weights.size} examples, of shape {weights.shape};"
            f" got {_check.describe(direction)}"
        )
        raise ValueError(message)
    return jnp.asarray(direction, weights.dtype)


def _agreement(ends: Params) -> Array:
    """Return how much of the movement between the first two of three trees goes on to the third, less the rest."""
    leaves = jax.tree.leaves(ends)
    moves = [(leaf[1] - leaf[0], leaf[2] - leaf[1]) for leaf in leaves]
    total = sum(jnp.abs(first).sum() for first, _ in moves)
    going_on = sum((first * jnp.sign(second)).sum() for first, second in moves)
    return jnp.where(total == 0, 1, going_on / jnp.where(total == 0, 1, total))


def _agree(predicted: Array, actual: Array) -> Array:
    """Say whether two changes have one sign, and differ by a factor of `FACTOR` at most."""
    larger = jnp.maximum(jnp.abs(predicted), jnp.abs(actual).astype(predicted.dtype))
    return jnp.abs(predicted - actual.astype(predicted.dtype)) <= (1 - 1 / FACTOR) * larger

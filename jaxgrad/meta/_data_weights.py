"""The derivative of a trained model's loss by the weight of every training example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, NamedTuple, overload

import optax
from jax.typing import ArrayLike

from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import first_failure
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._reweighted import STATIC, known_places, reweighted

__all__ = ["DataWeights", "data_weights_gradient"]


class DataWeights(NamedTuple):
    """What `data_weights_gradient` returns with ``full_output=True``."""

    gradient: Array
    """Of shape ``(N,)``: the derivative of the validation loss by the weight of every example."""
    params: Params
    """The trained parameters."""
    validation_loss: Array
    """The validation loss at them."""
    losses: Array
    """Of shape ``(num_steps,)``: the objective of each step, at the parameters from which it starts."""
    diverged_at: Array
    """The first step that starts from an objective which is infinite or NaN, an integer; ``num_steps`` where only the
    parameters after the last step are; -1 where nothing is."""


@overload
def data_weights_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    examples: Tree,
    indices: ArrayLike,
    validation: Tree,
    *,
    optimizer: optax.GradientTransformation,
    validation_loss: Callable[Concatenate[T, ...], Array] | None = None,
    weights: ArrayLike | None = None,
    full_output: Literal[False] = False,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def data_weights_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    examples: Tree,
    indices: ArrayLike,
    validation: Tree,
    *,
    optimizer: optax.GradientTransformation,
    validation_loss: Callable[Concatenate[T, ...], Array] | None = None,
    weights: ArrayLike | None = None,
    full_output: Literal[True],
    inner_wrt: Wrt = None,
    memory: Memory = None,
    axis_name: AxisName = None,
) -> DataWeights: ...
@known_places
@jit("loss_fn", "full_output", *STATIC)
def data_weights_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    examples: Tree,
    indices: ArrayLike,
    validation: Tree,
    *,
    optimizer: optax.GradientTransformation,
    validation_loss: Callable[Concatenate[T, ...], Array] | None = None,
    weights: ArrayLike | None = None,
    full_output: bool = False,
    inner_wrt: Wrt = None,
    memory: Memory = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate the validation loss after training by the weight of every training example.

    .. math:: g_i = \frac{\partial V(\theta_K)}{\partial w_i}, \qquad
              \theta_{k+1} = \theta_k + u\Bigl(\nabla_\theta \frac{1}{|B_k|} \sum_{i \in B_k} w_i \,
              \ell(\theta_k, z_i)\Bigr)

    The objective of a step is the weighted sum over its batch, divided by the number of its filled places and not by
    their weights. An example counts as often as it stands in a batch, and the order counts, as it does in training. A
    negative number means that more of this example lowers the validation loss; leaving the example out changes the loss
    by about ``-g_i``. The gradient is exact through every step, for any optimizer, and says so little where training
    is chaotic that `smoothness` should be asked first.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example; ``example`` are the items of ``examples``
            where that is a plain tuple, any other pytree is handed on as one argument. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where training starts.
        examples: The ``N`` training examples, along the leading axis of every leaf; not copied.
        indices: Of shape ``(num_steps, batch)``, integers from 0 to ``N - 1``: which examples each step sees; -1 is an
            empty place. A step without any is one of gradient 0. Others are refused where their numbers are known, and
            give NaN inside of a trace.
        validation: What ``validation_loss`` is given, like ``examples``.
        optimizer: An optax transformation, as in `adapt`; schedules count the steps. Static.
        validation_loss: ``validation_loss(params, *validation) -> ()``. ``None``: the mean of ``loss_fn`` over the
            examples along the leading axis of ``validation``.
        weights: Of shape ``(N,)``: where the derivative is taken, and what training is weighted by. ``None``: ones.
        full_output: Whether to return a `DataWeights`: the trained parameters, the losses and the rest too.
        inner_wrt: Which leaves training moves: glob patterns on their paths, a predicate ``inner_wrt(path, leaf)``, or
            ``None`` for all.
        memory: What is kept of the steps: ``"unrolled"``, ``"checkpoint"``, ``"nested"``, ``"mixed-mode"``, or ``None``
            for the rule of `value_and_maml_gradient`. Every mode gives the same number; but for ``"unrolled"`` none
            keeps a batch, which is read again.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch of each step lies:
            the objective is then that of all devices' places, and the validation loss the mean of theirs. ``None``:
            training is the device's own.

    Returns:
        The derivatives, of shape ``(N,)``, in the dtype of ``weights``; 0 for an example that training never sees.
        With ``full_output``, a `DataWeights`. With ``axis_name``, weights that are the same on all devices have the
        derivative of the whole training, and weights that differ are each device's own.

    Raises:
        ValueError: If the examples do not share one leading axis, ``indices`` have another shape or name no example,
            ``weights`` are not one for each example, a loss is no scalar, the validation loss does not depend on a
            parameter that training moves, ``inner_wrt`` selects nothing, ``memory="mixed-mode"`` meets a loss that it
            would be wrong for, a step holds a while loop, or ``axis_name`` is no axis around.
        TypeError: If ``indices`` are no integers, ``optimizer`` is no optax transformation, or a leaf that moves is no
            real floating-point array.

    Cost:
        About 3.7 gradients a step (FLOPs), 4.7 with ``"nested"``, which keeps weights and optimizer's state of
        ``2 sqrt(num_steps)`` steps; beside that ``N`` additions a step. All weights together: leaving out each of ``N``
        examples is ``N`` trainings.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return 0.5 * (params["w"] - x) ** 2
        >>> params, examples = {"w": jnp.array(0.0)}, (jnp.array([1.0, -1.0, 5.0]),)
        >>> order = jnp.array([[0, 1], [0, -1]])
        >>> jaxgrad.meta.data_weights_gradient(
        ...     loss, params, examples, order, (jnp.array([1.0]),), optimizer=optax.sgd(0.5)
        ... ).tolist()
        [-0.3125, 0.0625, 0.0]

    References:
        Engstrom et al. (2025), Optimizing ML training with metagradient descent, arXiv:2503.13751.
        Ilyas and Engstrom (2025), MAGIC: near-optimal data attribution for deep learning, arXiv:2504.16430.
    """
    options: Any = {"optimizer": optimizer, "validation_loss": validation_loss, "weights": weights, "memory": memory}
    options |= {"inner_wrt": inner_wrt, "axis_name": axis_name}
    training = reweighted(loss_fn, params, examples, indices, validation, **options)
    value, after, slope = training.gradient()
    if not full_output:
        return slope
    return DataWeights(slope, after.params, value, after.losses, first_failure(after, params))

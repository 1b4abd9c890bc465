"""The loss of one example's outputs: its value, the columns of a root of its Hessian, and draws of its targets.

The Hessian of a negative log-likelihood in the outputs is the covariance of its gradient at targets that the outputs'
own distribution draws: a root of it gives the exact Fisher matrix column by column, and draws give an unbiased one.
A loss is the mean over the positions of an example (all axes of its outputs but the last), so its Hessian has a block
for every position, divided by their number.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Key

__all__ = ["NAMES", "OutputLoss", "output_loss_of"]

LARGEST_HESSIAN = 4096
"""The most outputs of one example for which a dense Hessian of them is formed: 64 MiB of float32."""


class OutputLoss(NamedTuple):
    """A loss of the outputs of one example, of shape ``(positions, outputs)`` where a function here takes them."""

    name: str
    value: Callable[..., Array]
    """``value(outputs, *targets)`` is the loss, of shape ``()``; the outputs as the model gives them."""
    column: Callable[..., Array]
    """``column(outputs, targets, index)`` is a column of a root of the Hessian, of the shape of the outputs."""
    draw: Callable[[Array, Key], Array] | None
    """``draw(outputs, key)`` draws targets; ``None`` where no distribution is known."""
    score: Callable[[Array, Array], Array] | None
    """``score(outputs, targets)``: the gradient at drawn targets, scaled so that its covariance is the Hessian."""


def output_loss_of(output_loss: Any) -> OutputLoss:
    """Return the loss of a name, or a function's with its Hessian formed.

    Raises:
        ValueError: If it is a name that is not known.
        TypeError: If it is neither a name nor a function.
    """
    if callable(output_loss):
        return OutputLoss("a function", output_loss, _dense_column(output_loss), None, None)
    if not isinstance(output_loss, str):
        message = (
            f"output_loss must be a function output_loss(outputs, *targets) or one of {', '.join(map(repr, NAMES))};"
            f" got {output_loss!r}"
        )
        raise TypeError(message)
    _check.choice(output_loss, "output_loss", tuple(NAMES))
    plain, root, draw, score = NAMES[output_loss]

    def value(outputs: Array, *targets: Any) -> Array:
        return plain(outputs, _target(output_loss, outputs, targets))

    def column(outputs: Array, targets: tuple[Any, ...], index: Array) -> Array:
        target, rows = _target(output_loss, outputs, targets), _positions(outputs)
        at, of = jnp.divmod(index, rows.shape[-1])
        here = jnp.arange(rows.shape[0])[:, None] == at
        entries = jnp.where(here, root(rows, of), jnp.zeros_like(rows)) / math.sqrt(rows.shape[0])
        if output_loss == "softmax_cross_entropy" and target.shape == outputs.shape:
            # a distribution that does not add up to 1 weighs its position
            entries = entries * _tree.safe_sqrt(jnp.sum(_positions(target), -1, keepdims=True))
        return entries.reshape(outputs.shape)

    def drawn(outputs: Array, key: Key) -> Array:
        # integer labels have no axis of the outputs
        targets = draw(_positions(outputs), key)
        return targets.reshape(outputs.shape if targets.ndim == 2 else outputs.shape[:-1])

    def scored(outputs: Array, targets: Array) -> Array:
        _target(output_loss, outputs, (targets,), "samples")
        rows = _positions(outputs)
        given = targets.reshape(rows.shape[:1] if draw is _draw_label else rows.shape)
        return (score(rows, given) / math.sqrt(rows.shape[0])).reshape(outputs.shape)

    return OutputLoss(output_loss, value, column, drawn, scored)


def _target(name: str, outputs: Array, targets: tuple[Any, ...], argument: str = "the target of an example") -> Array:
    """Return the one target of an example, after refusing one that does not fit its outputs.

    Raises:
        ValueError: If there is not one, or it has another shape.
        TypeError: If class numbers are no integers.
    """
    if len(targets) != 1:
        message = (
            f'output_loss="{name}" takes one target: the batch is then (inputs, targets); got {len(targets) + 1} trees,'
            " and weights of examples are given as weights="
        )
        raise ValueError(message)
    target = targets[0]
    classes = name == "softmax_cross_entropy" and jnp.shape(target) == outputs.shape[:-1]
    if jnp.shape(target) != outputs.shape and not classes:
        shapes = f"{list(outputs.shape)}" + f", or of classes {list(outputs.shape[:-1])}" * (
            name == "softmax_cross_entropy"
        )
        message = (
            f'{argument} must have the shape of the outputs of an example for output_loss="{name}", {shapes};'
            f" got {_check.describe(target)}: nothing is broadcast"
        )
        raise ValueError(message)
    if classes and not jnp.issubdtype(target.dtype, jnp.integer):
        message = (
            f"{argument} has the shape of class numbers, which must be integers; got {_check.describe(target)}: write"
            " labels.astype(jnp.int32), or give distributions"
        )
        raise TypeError(message)
    return target


def _positions(outputs: Array) -> Array:
    """Return outputs as rows, in float32 at the least."""
    rows = outputs.reshape(-1, outputs.shape[-1] if outputs.ndim else 1)
    return rows.astype(_tree.accumulator(rows.dtype))


def _dense_column(output_loss: Callable[..., Array]) -> Callable[..., Array]:
    """Return the columns of a root of any loss's Hessian, by its eigenvalues; negative ones count as zero."""

    def column(outputs: Array, targets: tuple[Any, ...], index: Array) -> Array:
        if outputs.size > LARGEST_HESSIAN:
            message = (
                f"output_loss is a function of {outputs.size} outputs of one example, whose Hessian would be formed;"
                f" the most is {LARGEST_HESSIAN}: name one of {', '.join(map(repr, NAMES))}, whose roots are known, or"
                ' write kind="empirical"'
            )
            raise ValueError(message)
        flat = outputs.reshape(-1).astype(_tree.accumulator(outputs.dtype))
        matrix = jax.hessian(lambda z: output_loss(z.reshape(outputs.shape).astype(outputs.dtype), *targets))(flat)
        values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        roots = _tree.safe_sqrt(values)
        # the columns in descending order of their eigenvalues, so that the first ones are those that count
        chosen = flat.size - 1 - index
        return (vectors[:, chosen] * roots[chosen]).reshape(outputs.shape)

    return column


def _squared_error(outputs: Array, targets: Array) -> Array:
    """Half the squared distance, the mean over positions."""
    rows = _positions(outputs)
    return jnp.sum(jnp.square(rows - targets.reshape(rows.shape).astype(rows.dtype))) / (2 * rows.shape[0])


def _softmax_cross_entropy(outputs: Array, targets: Array) -> Array:
    """The cross-entropy of labels, or of distributions, the mean over positions."""
    rows = _positions(outputs)
    scores = jax.nn.log_softmax(rows)
    if targets.shape != outputs.shape:
        chosen = jax.nn.one_hot(targets.reshape(-1), rows.shape[-1], dtype=bool)
        return -jnp.sum(jnp.where(chosen, scores, jnp.zeros_like(scores))) / rows.shape[0]
    weights = targets.reshape(rows.shape).astype(rows.dtype)
    # a class of probability zero may have the logit -inf
    return -jnp.sum(jnp.where(weights == 0, jnp.zeros_like(scores), weights * scores)) / rows.shape[0]


def _bernoulli(outputs: Array, targets: Array) -> Array:
    """The cross-entropy of logits with targets of 0 and 1, summed over the outputs, the mean over positions."""
    rows = _positions(outputs)
    wanted = targets.reshape(rows.shape).astype(rows.dtype)
    return jnp.sum(jax.nn.softplus(rows) - wanted * rows) / rows.shape[0]


def _unit_root(rows: Array, index: Array) -> Array:
    """The Hessian is the identity."""
    return jnp.broadcast_to(jnp.arange(rows.shape[-1]) == index, rows.shape).astype(rows.dtype)


def _softmax_root(rows: Array, index: Array) -> Array:
    """``diag(p) - p p^T`` is the sum over the classes of ``p_c (e_c - p) (e_c - p)^T``."""
    p = jax.nn.softmax(rows)
    return _tree.safe_sqrt(jnp.take(p, index, axis=-1))[:, None] * (_unit_root(rows, index) - p)


def _bernoulli_root(rows: Array, index: Array) -> Array:
    """The Hessian is ``diag(p (1 - p))``; as a product of two logistic functions, which loses no digit near 1."""
    return _unit_root(rows, index) * _tree.safe_sqrt(jax.nn.sigmoid(rows) * jax.nn.sigmoid(-rows))


def _draw_normal(rows: Array, key: Key) -> Array:
    return rows + jax.random.normal(key, rows.shape, rows.dtype)


def _draw_label(rows: Array, key: Key) -> Array:
    return jax.random.categorical(key, rows)


def _draw_bit(rows: Array, key: Key) -> Array:
    return jax.random.bernoulli(key, jax.nn.sigmoid(rows)).astype(rows.dtype)


def _residual(rows: Array, targets: Array) -> Array:
    return rows - targets.astype(rows.dtype)


def _label_score(rows: Array, labels: Array) -> Array:
    return jax.nn.softmax(rows) - jax.nn.one_hot(labels, rows.shape[-1], dtype=rows.dtype)


def _bit_score(rows: Array, targets: Array) -> Array:
    return jax.nn.sigmoid(rows) - targets.astype(rows.dtype)


NAMES: dict[str, tuple[Callable[..., Array], ...]] = {
    "squared_error": (_squared_error, _unit_root, _draw_normal, _residual),
    "softmax_cross_entropy": (_softmax_cross_entropy, _softmax_root, _draw_label, _label_score),
    "bernoulli": (_bernoulli, _bernoulli_root, _draw_bit, _bit_score),
}
"""By name: the value, a column of the root at one position, a draw of targets and the gradient at them."""

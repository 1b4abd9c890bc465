r"""Losses of a model's outputs: their value, gradient and Hessian with respect to the outputs.

The three that go by a name are negative log-likelihoods, weighted sums over positions (all axes of the outputs but the
last), and what is needed of them is written in closed form. With :math:`f` the outputs at a position,
:math:`\omega` its weight and :math:`y` its label:

- squared error, :math:`\tfrac12 |f - y|^2`: gradient :math:`f - y`, Hessian :math:`I`; labels are Gaussian with
  variance 1;
- softmax cross-entropy, :math:`-\sum_c y_c \log p_c`: gradient :math:`s p - y`, Hessian
  :math:`s (\mathrm{diag}\, p - p p^\top)`, where :math:`s = \sum_c y_c` is 1 for a distribution;
- Bernoulli, :math:`\sum_k \log(1 + e^{f_k}) - y_k f_k`: gradient :math:`p - y`, Hessian
  :math:`\mathrm{diag}\, p (1 - p)`.

A logarithm of a softmax is never differentiated twice.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Key, Tree
from jaxgrad.curvature._engine._second import forward, gradient_of

__all__ = ["NAMES", "Generic", "Named", "checked", "checked_outputs", "of_outputs"]

NAMES = ("squared_error", "softmax_cross_entropy", "bernoulli")
"""The losses with a closed form."""


@dataclass(frozen=True)
class Named:
    """A loss by its name at some outputs; arrays are in float32 at the least."""

    name: str
    outputs: Array
    labels: Array
    """Like the outputs; for softmax cross-entropy class numbers, without the last axis, where they are integers."""
    weights: Array
    """One for each position, with a last axis of length 1."""
    dtype: Any
    """The dtype of the model's outputs."""

    def value(self) -> Array:
        """Return the loss."""
        return jnp.sum(self._each()).astype(self.dtype)

    def gradient(self) -> Array:
        """Return the derivative of the loss by the outputs."""
        return (self.weights * self.scores(self.labels)).astype(self.dtype)

    def times(self, vector: Array) -> Array:
        """Multiply the Hessian by a vector of the outputs' shape."""
        u = vector.astype(self.outputs.dtype)
        if self.name == "squared_error":
            product = u
        elif self.name == "bernoulli":
            p = jax.nn.sigmoid(self.outputs)
            product = p * (1 - p) * u
        else:
            # not p * (u - sum(p * u)): of several vectors at once XLA for CPUs (jaxlib 0.10) computes that wrongly
            p = jax.nn.softmax(self.outputs)
            part = p * u
            product = self._mass() * (part - p * jnp.sum(part, -1, keepdims=True))
        return (self.weights * product).astype(self.dtype)

    def scores(self, labels: Array) -> Array:
        """Return, at every position, the derivative of the loss of the position by the outputs, without its weight."""
        if self.name == "squared_error":
            return self.outputs - labels
        if self.name == "bernoulli":
            return jax.nn.sigmoid(self.outputs) - labels
        p = jax.nn.softmax(self.outputs)
        if _are_classes(labels):
            return p - self._one_hot(labels)
        return jnp.sum(labels, -1, keepdims=True) * p - labels

    def draw(self, key: Key, num_samples: int) -> Array:
        """Draw labels from the model's own distribution, along a new leading axis."""
        shape = (num_samples, *self.outputs.shape)
        if self.name == "squared_error":
            return self.outputs[None] + jax.random.normal(key, shape, self.outputs.dtype)
        if self.name == "bernoulli":
            return jax.random.bernoulli(key, jax.nn.sigmoid(self.outputs)[None], shape).astype(self.outputs.dtype)
        return jax.random.categorical(key, self.outputs, shape=shape[:-1])

    def sampled(self, samples: Array) -> Callable[[Array], Array]:
        """Return the product with the mean over samples of the outer products of the scores, position by position."""

        def times(vector: Array) -> Array:
            u = vector.astype(self.outputs.dtype)

            def of_one(labels: Array) -> Array:
                score = self.scores(labels)
                return score * jnp.sum(score * u, -1, keepdims=True)

            return (self.weights * jnp.mean(jax.vmap(of_one)(samples), 0)).astype(self.dtype)

        return times

    def empirical(self, vector: Array) -> Array:
        """Multiply by the weighted sum over examples of the outer products of their gradients by the outputs.

        The loss of an example is the mean over its positions, as their weights have it.
        """
        u = vector.astype(self.outputs.dtype)
        rest = tuple(range(1, u.ndim))
        slopes = self.weights * self.scores(self.labels)
        # a mean of ones has the layout of the outputs, on a mesh too
        total = jnp.sum(self.weights * jnp.mean(jnp.ones_like(u), -1, keepdims=True), rest, keepdims=True)
        present = total != 0
        along = jnp.sum(slopes * u, rest, keepdims=True)
        return jnp.where(present, slopes * along / jnp.where(present, total, 1), 0).astype(self.dtype)

    def _each(self) -> Array:
        """Return the weighted loss at every position."""
        f, y = self.outputs, self.labels
        if self.name == "squared_error":
            return 0.5 * self.weights * (f - y) ** 2
        if self.name == "bernoulli":
            return self.weights * (jax.nn.softplus(f) - y * f)
        logs = jax.nn.log_softmax(f)
        if _are_classes(y):
            return -self.weights * jnp.take_along_axis(logs, y[..., None], -1)
        # a class without a share counts as 0, where its logit is -inf too
        return -self.weights * jnp.where(y == 0, 0, y * jnp.where(y == 0, 0, logs))

    def _mass(self) -> Array:
        """Return the sum of the labels at every position: 1 where they are classes."""
        ones = jnp.ones((), self.outputs.dtype)
        return ones if _are_classes(self.labels) else jnp.sum(self.labels, -1, keepdims=True)

    def _one_hot(self, labels: Array) -> Array:
        """Return class numbers as distributions."""
        return jax.nn.one_hot(labels, self.outputs.shape[-1], dtype=self.outputs.dtype)


@dataclass(frozen=True)
class Generic:
    """Any loss of the outputs at some outputs."""

    fun: Callable[[Tree], Array]
    outputs: Tree

    def value(self) -> Array:
        """Return the loss."""
        return self.fun(self.outputs)

    def gradient(self) -> Tree:
        """Return the derivative of the loss by the outputs."""
        return jax.grad(self.fun)(self.outputs)

    def times(self, vector: Tree) -> Tree:
        """Multiply the Hessian by a vector with the structure of the outputs."""
        gradient = forward(gradient_of(lambda outputs: (self.fun(outputs), None)), self.outputs)
        return jax.jvp(gradient, (self.outputs,), (vector,), has_aux=True)[1]


def checked(output_loss: Any) -> None:
    """Refuse what is neither a name of a loss nor a function.

    Raises:
        ValueError: If it is another word.
        TypeError: If it is something else.
    """
    if isinstance(output_loss, str):
        _check.choice(output_loss, "output_loss", NAMES)
    elif not callable(output_loss):
        names = ", ".join(map(repr, NAMES))
        message = (
            f"output_loss must be one of {names}, or a function output_loss(outputs, *targets) -> (); got"
            f" {_check.describe(output_loss)}"
        )
        raise TypeError(message)


def of_outputs(output_loss: Any, outputs: Tree, targets: tuple[Any, ...]) -> "Named | Generic":
    """Return a loss at some outputs, as from `checked_outputs`, after refusing targets that it does not fit.

    Raises:
        ValueError: If the shape of the labels or the weights does not fit a closed form.
        TypeError: If labels have another dtype than the closed form takes.
    """
    if callable(output_loss):
        loss = _check.scalar_loss(output_loss, "output_loss")
        return Generic(lambda outputs: loss(outputs, *targets), outputs)
    array = outputs
    if len(targets) not in (1, 2):
        message = (
            f'output_loss="{output_loss}" takes one target, the labels, or two, the labels and the weights of examples;'
            f" got {len(targets)}"
        )
        raise ValueError(message)
    kept = _tree.accumulator(array.dtype)
    labels = _labels(output_loss, array, targets[0])
    weights = _weights(array, targets[1] if len(targets) == 2 else None, kept)
    return Named(output_loss, array.astype(kept), labels, weights, array.dtype)


def checked_outputs(output_loss: Any, outputs: Tree) -> Tree:
    """Return the outputs, refused unless they are one array with examples along its first axis, for a loss by name.

    Raises:
        TypeError: If an output is no real floating-point array, or a loss by name gets no array.
        ValueError: If a loss by name gets an array without an axis of examples.
    """
    if callable(output_loss):
        arrays = jax.tree.map(jnp.asarray, outputs)
        _check.floating(**{"the outputs of model_fn": arrays})
        return arrays
    return _one_array(outputs, output_loss)


def _one_array(outputs: Tree, name: str) -> Array:
    """Return the outputs as one array."""
    if isinstance(outputs, tuple | list | dict) or outputs is None:
        message = (
            f'model_fn must return one array of outputs for output_loss="{name}"; got a {type(outputs).__name__}:'
            " return the outputs alone, or pass has_aux=True with a model that returns the pair (outputs, aux)"
        )
        raise TypeError(message)
    array = jnp.asarray(outputs)
    _check.floating(**{"the output of model_fn": array})
    if array.ndim < 2:
        message = (
            f'output_loss="{name}" takes outputs of shape (examples, ..., outputs); model_fn returned'
            f" {_check.describe(array)}: write outputs[:, None] where an example has one output, and hand in a whole"
            " batch"
        )
        raise ValueError(message)
    return array


def _labels(name: str, outputs: Array, labels: Any) -> Array:
    """Return the labels as the closed form takes them.

    Raises:
        TypeError: If they are no numbers, or class numbers are no integers.
        ValueError: If their shape is another.
    """
    if isinstance(labels, tuple | list | dict) or labels is None:
        kind = "None" if labels is None else f"a {type(labels).__name__}"
        message = f'the labels of output_loss="{name}" must be one array; got {kind}'
        raise TypeError(message)
    array = jnp.asarray(labels)
    shown, wanted = _check.describe(array), ",".join(map(str, outputs.shape))
    kept = _tree.accumulator(outputs.dtype)
    if name == "softmax_cross_entropy" and array.shape == outputs.shape[:-1]:
        if jnp.issubdtype(array.dtype, jnp.integer):
            return array
        message = (
            f'the labels of output_loss="{name}" are class numbers where they have the shape of the outputs without the'
            f" last axis, and must be integers; got {shown}: write labels.astype(jnp.int32), or give distributions of"
            f" shape [{wanted}]"
        )
        raise TypeError(message)
    if array.shape != outputs.shape:
        classes = f", or class numbers of shape [{','.join(map(str, outputs.shape[:-1]))}]"
        message = (
            f'the labels of output_loss="{name}" must have the shape of the outputs, [{wanted}]'
            f"{classes if name == 'softmax_cross_entropy' else ''}; got {shown}: nothing is broadcast"
        )
        raise ValueError(message)
    _check.numbers_like(array, "the labels", outputs)
    return array.astype(kept)


def _weights(outputs: Array, weights: Any, kept: Any) -> Array:
    """Return the weight of every position, with a last axis of length 1; without weights the loss is a mean.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If their shape is that of no leading axes of the outputs.
    """
    positions = outputs.shape[:-1]
    if weights is None:
        return jnp.full((1,) * outputs.ndim, 1 / max(1, math.prod(positions)), kept)
    array = jnp.asarray(weights)
    if array.ndim == 0 or array.shape != positions[: array.ndim]:
        message = (
            "weights must have the leading axes of the outputs, one for each example, of shape"
            f" [{positions[0]}], or for each position, of shape [{','.join(map(str, positions))}]; got"
            f" {_check.describe(array)}"
        )
        raise ValueError(message)
    _check.numbers_like(array, "weights", outputs)
    # an example's weight is that of the mean over its positions
    rest = positions[array.ndim :]
    spread = array.astype(kept) / max(1, math.prod(rest))
    return jnp.broadcast_to(spread.reshape(array.shape + (1,) * len(rest)), positions)[..., None]


def _are_classes(labels: Array) -> bool:
    """Say whether labels are class numbers."""
    return bool(jnp.issubdtype(labels.dtype, jnp.integer))

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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Key, Tree
from jaxgrad.curvature._engine import _output_checks
from jaxgrad.curvature._engine._second import forward, gradient_of

__all__ = ["Generic", "Named", "of_outputs", "unlabelled"]


@dataclass(frozen=True)
class Named:
    """A loss by its name at some outputs; arrays are in float32 at the least."""

    name: str
    outputs: Array
    labels: Any
    """Like the outputs; for softmax cross-entropy class numbers, without the last axis, where they are integers.
    ``None`` where only the model's own distribution counts, and every position once."""
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
            p = jax.nn.softmax(self.outputs)
            product = self.mass() * (p * u - p * _along(p, u))
        return (self.weights * product).astype(self.dtype)

    def scores(self, labels: Array) -> Array:
        """Return, at every position, the derivative of the loss of the position by the outputs, without its weight."""
        if self.name == "squared_error":
            return self.outputs - labels
        if self.name == "bernoulli":
            return jax.nn.sigmoid(self.outputs) - labels
        p = jax.nn.softmax(self.outputs)
        if _output_checks.are_classes(labels):
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
        """Return the product with the mean over samples of the outer products of the scores, position by position.

        Its expectation is the Hessian: a distribution that does not add up to 1 weighs its position here too.
        """

        def times(vector: Array) -> Array:
            u = vector.astype(self.outputs.dtype)

            def of_one(labels: Array) -> Array:
                score = self.scores(labels)
                return score * _along(score, u)

            mean = jnp.mean(jax.vmap(of_one)(samples), 0)
            return (self.weights * self.mass() * mean).astype(self.dtype)

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
        along = _along(slopes, u, rest)
        return jnp.where(present, slopes * along / jnp.where(present, total, 1), 0).astype(self.dtype)

    def mass(self) -> Array:
        """Return how often a position counts: the sum of a distribution's entries, 1 for other labels."""
        shares = self.name == "softmax_cross_entropy" and self.labels is not None
        if shares and not _output_checks.are_classes(self.labels):
            return jnp.sum(self.labels, -1, keepdims=True)
        return jnp.ones((), self.outputs.dtype)

    def _each(self) -> Array:
        """Return the weighted loss at every position."""
        f, y = self.outputs, self.labels
        if self.name == "squared_error":
            return 0.5 * self.weights * (f - y) ** 2
        if self.name == "bernoulli":
            return self.weights * (jax.nn.softplus(f) - y * f)
        logs = jax.nn.log_softmax(f)
        if _output_checks.are_classes(y):
            return -self.weights * jnp.take_along_axis(logs, y[..., None], -1)
        # a class without a share counts as 0, where its logit is -inf too
        return -self.weights * jnp.where(y == 0, 0, y * jnp.where(y == 0, 0, logs))

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


def of_outputs(output_loss: Any, outputs: Tree, targets: tuple[Any, ...]) -> Named | Generic:
    """Return a loss at some outputs, as from `checked_outputs`, after refusing targets that it does not fit.

    Raises:
        ValueError: If the shape of the labels or the weights does not fit a closed form.
        TypeError: If labels have another dtype than the closed form takes.
    """
    if callable(output_loss):
        loss = _check.scalar_loss(output_loss, "output_loss")
        return Generic(lambda outputs: loss(outputs, *targets), outputs)
    if len(targets) not in (1, 2):
        message = (
            f'output_loss="{output_loss}" takes one target, the labels, or two, the labels and the weights of examples;'
            f" got {len(targets)}"
        )
        raise ValueError(message)
    labels = _output_checks.labels_of(output_loss, outputs, targets[0])
    bare = unlabelled(output_loss, outputs, targets[1] if len(targets) == 2 else None)
    return replace(bare, labels=labels)


def unlabelled(output_loss: str, outputs: Array, weights: Any = None) -> Named:
    """Return a loss by its name at some outputs, without labels.

    Raises:
        ValueError: If the shape of the weights does not fit.
        TypeError: If they are no real numbers.
    """
    kept = _tree.accumulator(outputs.dtype)
    return Named(
        output_loss, outputs.astype(kept), None, _output_checks.weights_of(outputs, weights, kept), outputs.dtype
    )


def _along(left: Array, right: Array, axes: tuple[int, ...] = (-1,)) -> Array:
    """Return the inner products along some axes, which stay with length 1.

    Behind a barrier: XLA for CPUs (YNNPACK in jaxlib 0.10) makes one piece of ``p * sum(p * u)``, and wrong numbers in
    float32, where ``p`` is one for many ``u`` and these have more than 32768 entries.
    """
    return lax.optimization_barrier(jnp.sum(left * right, axes, keepdims=True))

"""The columns of a root of the Hessian of a loss in a model's outputs.

The Hessian of a negative log-likelihood in the outputs is the covariance of its gradient at targets that the outputs'
own distribution draws: a root of it gives the exact Fisher matrix column by column. It has a block for every position.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array
from jaxgrad.curvature._engine._output_checks import NAMES
from jaxgrad.curvature._engine._output_losses import Generic, Named

__all__ = ["column"]

LARGEST_HESSIAN = 4096
"""The most outputs of one example for which a dense Hessian of them is formed: 64 MiB of float32."""


def column(loss: Named | Generic, index: Array) -> Array:
    """Return one of as many columns of a root as there are outputs, of the shape of the outputs.

    Raises:
        ValueError: If the Hessian of a loss without a name would be formed, and is large.
    """
    if isinstance(loss, Generic):
        return _dense_column(loss, index)
    outputs = loss.outputs
    at, of = jnp.divmod(index, outputs.shape[-1])
    positions = outputs.shape[:-1]
    here = jnp.arange(outputs.size // outputs.shape[-1]).reshape(positions)[..., None] == at
    root = jnp.where(here, ROOTS[loss.name](outputs, of), jnp.zeros_like(outputs))
    # a distribution that does not add up to 1 weighs its position
    return root * _tree.safe_sqrt(loss.weights * loss.mass())


def _dense_column(loss: Generic, index: Array) -> Array:
    """Return a column for any loss, by the eigenvalues of its Hessian; negative ones count as zero."""
    outputs = loss.outputs
    if outputs.size > LARGEST_HESSIAN:
        message = (
            f"output_loss is a function of {outputs.size} outputs of one example, whose Hessian would be formed;"
            f" the most is {LARGEST_HESSIAN}: name one of {', '.join(map(repr, NAMES))}, whose roots are known, or"
            ' write kind="empirical"'
        )
        raise ValueError(message)
    units = jnp.eye(outputs.size, dtype=outputs.dtype).reshape(-1, *outputs.shape)
    matrix = jax.vmap(loss.times)(units).reshape(outputs.size, -1).astype(_tree.accumulator(outputs.dtype))
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    # the columns in descending order of their eigenvalues, so that the first ones are those that count
    chosen = outputs.size - 1 - index
    return (vectors[:, chosen] * _tree.safe_sqrt(values)[chosen]).reshape(outputs.shape)


def _unit(outputs: Array, index: Array) -> Array:
    """The Hessian is the identity."""
    return jnp.broadcast_to(jnp.arange(outputs.shape[-1]) == index, outputs.shape).astype(outputs.dtype)


def _softmax(outputs: Array, index: Array) -> Array:
    """``diag(p) - p p^T`` is the sum over the classes of ``p_c (e_c - p) (e_c - p)^T``."""
    p = jax.nn.softmax(outputs)
    return _tree.safe_sqrt(jnp.take(p, index, axis=-1))[..., None] * (_unit(outputs, index) - p)


def _bernoulli(outputs: Array, index: Array) -> Array:
    """The Hessian is ``diag(p (1 - p))``; as a product of two logistic functions, which loses no digit near 1."""
    return _unit(outputs, index) * _tree.safe_sqrt(jax.nn.sigmoid(outputs) * jax.nn.sigmoid(-outputs))


ROOTS: dict[str, Callable[[Array, Array], Array]] = {
    "squared_error": _unit,
    "softmax_cross_entropy": _softmax,
    "bernoulli": _bernoulli,
}
"""By name: the columns of a root at every position."""

"""A data set in minibatches of one size, the last filled up."""

from __future__ import annotations

import jax
import numpy as np

from jaxgrad import _check
from jaxgrad._types import Tree

__all__ = ["stack_batches"]


def stack_batches(arrays: tuple[Tree, ...], batch_size: int) -> tuple[tuple[Tree, ...], np.ndarray]:
    r"""Stack a data set in minibatches of one size, the last filled up with rows of weight 0.

    .. math:: w_{bi} = 1 \text{ if } b B + i < N, \text{ else } 0

    The rows that fill up are copies of examples, so nothing that is not finite comes in by them. It runs in NumPy,
    once, in front of the products.

    Args:
        arrays: Tuple of pytrees whose leaves have the examples along their leading axis, of length ``N``.
        batch_size: How many examples to a batch, ``B``; the last one is filled up, also where it
            is the only one: devices that divide ``B`` divide every batch.

    Returns:
        ``(batches, weights)``: the data with leaves of shape ``(ceil(N / B), B, ...)``, and float32 weights of shape
        ``(ceil(N / B), B)``, for `over_dataset`.

    Raises:
        ValueError: If the leading axes differ or are empty, or ``batch_size`` is below 1.
        TypeError: If ``arrays`` is no tuple, or ``batch_size`` is no Python integer.

    Cost:
        A copy of the data.

    Example:
        >>> import numpy as np
        >>> import jaxgrad
        >>> batches, weights = jaxgrad.curvature.stack_batches((np.arange(3.0),), 2)
        >>> batches[0].tolist(), weights.tolist()
        ([[0.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])

    References:
        The mask of a padded minibatch, as in `optax.losses`.
    """
    if not isinstance(arrays, tuple):
        message = f"arrays must be a tuple, (x, y); got {_check.describe(arrays)}: write (x,) for one array"
        raise TypeError(message)
    size, count = _check.count(batch_size, "batch_size", least=1), _check.batch(arrays)
    turns = -(-count // size)
    # rows from the front fill up, round and round
    index = np.arange(turns * size) % count
    batches = jax.tree.map(lambda leaf: np.asarray(leaf)[index].reshape(turns, size, *np.shape(leaf)[1:]), arrays)
    return batches, (np.arange(turns * size) < count).astype(np.float32).reshape(turns, size)

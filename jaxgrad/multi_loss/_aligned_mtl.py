"""Gradients that are made orthogonal and of one length, as little as that needs."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._cone import unit_of
from jaxgrad.multi_loss._engine._gram import checked, finished
from jaxgrad.multi_loss._engine._roots import inverse_root, spectrum
from jaxgrad.multi_loss._preferences import FINITE

__all__ = ["aligned_mtl"]

MODES = ("min", "median", "rmse")


@jit("scale_mode", checks={"preferences": FINITE})
def aligned_mtl(
    gram: ArrayLike, *, preferences: ArrayLike | None = None, scale_mode: Literal["min", "median", "rmse"] = "min"
) -> Array:
    r"""Weigh several gradients by Aligned-MTL: their principal components are given one length.

    .. math:: w = \sqrt{\sigma}\, G^{-1/2} p

    ``G^(-1/2) J`` is the nearest matrix to the gradients' with orthogonal rows of length 1; ``sigma`` is the square of
    the length that they are given. The root is taken on the space where ``G`` is not zero; where all gradients are zero
    the weights are the preferences.

    Args:
        gram: The inner products of the gradients, of shape ``(K, K)``; for a stack use `jax.vmap`.
        preferences: How much each aligned gradient counts, of shape ``(K,)``; ``None``: 1/K each. The weights
            are linear in them: a negative one is a positive one of the loss times -1, and zeros give zeros.
        scale_mode: Which ``sigma``: of the eigenvalues of ``G`` that are not zero the smallest, ``"min"``, the median,
            ``"median"``, the lower one of two, or the mean, ``"rmse"``, the name of the authors' code. Static.

    Returns:
        The weights, of shape ``(K,)``. NaN if a number of ``gram`` is NaN or infinite, or a traced one of
        ``preferences``.

    Raises:
        TypeError: If ``gram`` is no array of real floating-point numbers, or ``preferences`` are no real numbers.
        ValueError: If ``gram`` is not square, ``preferences`` has not one number for each loss, or a number of Python
            or NumPy that is NaN or infinite, or ``scale_mode`` is none of the three.

    Cost:
        That of a plain gradient or less: the eigenvalues of a matrix of ``(K, K)``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = jaxgrad.multi_loss.aligned_mtl(rows @ rows.T)
        >>> (weights @ rows).round(4).tolist()
        [0.213..., 0.967..., 0.967...]

    References:
        Senushkin et al. (2023), Independent component alignment for multi-task learning, CVPR, algorithm 1.
    """
    _check.choice(scale_mode, "scale_mode", MODES)
    matrix = checked(gram)
    counts, matrix = FINITE.of(preferences, matrix, 1 / len(matrix))
    # the weights do not change with the scale, and the roots of a matrix of ones are in range
    scaled = matrix / unit_of(jnp.diagonal(matrix))
    values, usable = spectrum(scaled)
    rank = jnp.sum(usable)
    if scale_mode == "min":
        square = jnp.min(jnp.where(usable, values, jnp.full_like(values, jnp.inf)))
    elif scale_mode == "median":
        # eigenvalues ascend, and those that are not zero come last
        square = values[len(values) - rank + jnp.maximum(rank - 1, 0) // 2]
    else:
        square = jnp.sum(jnp.where(usable, values, jnp.zeros_like(values))) / jnp.maximum(rank, 1).astype(values.dtype)
    root = jnp.sqrt(jnp.where(rank > 0, square, jnp.ones_like(square)))
    weights = jnp.where(rank > 0, root * (inverse_root(scaled) @ counts), counts)
    return finished(weights, matrix, gram)

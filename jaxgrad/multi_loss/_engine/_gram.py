"""What every rule of a Gram matrix begins and ends with: checks, unit rows, and what a NaN does."""

from typing import NamedTuple

import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array

__all__ = ["UnitRows", "checked", "finished", "meant", "of_unit_rows", "rounding", "usable"]


def rounding(matrix: Array) -> float:
    """Return what a sum over the rows of a matrix of ones, or its eigenvalues, loses to rounding."""
    return len(matrix) * float(jnp.finfo(matrix.dtype).eps)


def usable(values: Array) -> Array:
    """Say which eigenvalues of a positive semi-definite matrix are more than rounding."""
    return values > rounding(values) * jnp.max(values)


def checked(gram: ArrayLike) -> Array:
    """Return a Gram matrix as a symmetric array, in float32 at the least.

    Raises:
        TypeError: If it is no array of real floating-point numbers.
        ValueError: If it is not square, or has no row.
    """
    if not jtu.all_leaves([gram]):
        message = (
            f"gram must be one array, the inner products of the losses' gradients, of shape (K, K); got a"
            f" {type(gram).__name__}. For the gradients themselves write aggregate(rows, weighting=rule)"
        )
        raise TypeError(message)
    _check.floating(gram=gram)
    matrix = jnp.asarray(gram)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        message = (
            f"gram must be the square matrix of inner products of the losses' gradients, of shape (K, K); got"
            f" {_check.describe(matrix)}. For a stack of them write jax.vmap(rule)(stack); for the gradients themselves"
            " give rows @ rows.T"
        )
        raise ValueError(message)
    matrix = _tree.widened(matrix)
    return (matrix + matrix.T) / 2


def meant(matrix: Array, sensible: Array) -> Array:
    """Return a Gram matrix, all NaN where the options of a rule are numbers that it has no answer for.

    A traced NaN, or a negative radius, is seen at run time alone, and a comparison with NaN is false: what it decides
    would be decided without a word.
    """
    return jnp.where(jnp.all(sensible), matrix, jnp.full_like(matrix, jnp.nan))


def finished(weights: Array, matrix: Array, gram: ArrayLike) -> Array:
    """Return weights in the dtype of the Gram matrix; all are NaN if a number of the matrix is NaN or infinite.

    The gradient of a sick loss would else be given the weight 0, and be dropped without a word.
    """
    sound = jnp.all(jnp.isfinite(matrix))
    return jnp.where(sound, weights, jnp.full_like(weights, jnp.nan)).astype(jnp.result_type(gram))


class UnitRows(NamedTuple):
    """A Gram matrix, with the lengths of the rows taken out of it."""

    cosines: Array
    """The inner products of the rows in units of their lengths, ones on the diagonal; zeros for a row of zeros."""
    lengths: Array
    """The lengths of the rows; 1 for a row of zeros. Constants of differentiation: any lengths give the same weights,
    once the weights of unit rows are divided by them."""
    is_zero: Array
    """Which rows are zeros."""

    def longest(self) -> Array:
        """Return the largest length; 1 where all rows are zeros."""
        largest = jnp.max(jnp.where(self.is_zero, jnp.zeros_like(self.lengths), self.lengths))
        return jnp.where(largest > 0, largest, jnp.ones_like(largest))

    def units(self) -> Array:
        """Return the lengths in the units that the rows have been divided by: ones, which move with the matrix."""
        return jnp.sqrt(jnp.where(self.is_zero, jnp.ones_like(self.lengths), jnp.diagonal(self.cosines)))

    def moving(self) -> "UnitRows":
        """Let the lengths move with the matrix, for what takes 1 for the length of each row: a projection, a cosine."""
        units = self.units()
        return self._replace(cosines=self.cosines / units[:, None] / units[None], lengths=self.lengths * units)

    def occupied(self) -> "UnitRows":
        """Give rows of zeros a direction of their own, so that a system is solvable; their weights are not used."""
        cosines = self.cosines + jnp.diag(self.is_zero.astype(self.cosines.dtype))
        return self._replace(cosines=cosines, is_zero=self.is_zero & False)

    def shares(self) -> Array:
        """Return the shortest length in units of each; 1 for a row of zeros."""
        infinite = jnp.full_like(self.lengths, jnp.inf)
        shortest = jnp.min(jnp.where(self.is_zero, infinite, self.lengths))
        ratio = jnp.where(jnp.all(self.is_zero), jnp.ones_like(shortest), shortest) / self.lengths
        return jnp.where(self.is_zero, jnp.ones_like(ratio), ratio)


def of_unit_rows(matrix: Array) -> UnitRows:
    """Scale the rows behind a Gram matrix to length 1.

    Rows of 1e-15 and of 1e15 are then alike, and no square of an entry of the matrix is needed, which would overflow.
    """
    squares = lax.stop_gradient(jnp.diagonal(matrix))
    is_zero = ~(squares > 0)
    lengths = jnp.sqrt(jnp.where(is_zero, jnp.ones_like(squares), squares))
    # one length after the other: their product may be out of range where the quotient is not
    cosines = matrix / lengths[:, None] / lengths[None]
    either = is_zero[:, None] | is_zero[None]
    return UnitRows(jnp.where(either, jnp.zeros_like(cosines), cosines), lengths, is_zero)

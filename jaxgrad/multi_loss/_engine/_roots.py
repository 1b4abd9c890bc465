"""The inverse square root of a positive semi-definite matrix, on the space where it is not zero."""

import jax
import jax.numpy as jnp

from jaxgrad._types import Array
from jaxgrad.multi_loss._engine._gram import usable

__all__ = ["inverse_root", "spectrum"]


def spectrum(matrix: Array) -> tuple[Array, Array]:
    """Return the eigenvalues in ascending order, and which of them are more than rounding."""
    values = jnp.linalg.eigvalsh(matrix)
    return values, usable(values)


@jax.custom_jvp
def inverse_root(matrix: Array) -> Array:
    """Return ``A^(-1/2)``, zero where ``A`` is."""
    roots, vectors = _roots(matrix)
    return (vectors * _reciprocals(roots)[None]) @ vectors.T


def _roots(matrix: Array) -> tuple[Array, Array]:
    """Return the square roots of the eigenvalues, 0 where these are rounding, and the eigenvectors."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = usable(values)
    return jnp.where(kept, jnp.sqrt(jnp.where(kept, values, jnp.ones_like(values))), 0 * values), vectors


def _reciprocals(roots: Array) -> Array:
    """Return one over each, 0 for 0."""
    return jnp.where(roots > 0, 1 / jnp.where(roots > 0, roots, jnp.ones_like(roots)), jnp.zeros_like(roots))


@inverse_root.defjvp
def _slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Daleckii and Krein: the differences of ``x^(-1/2)`` over those of ``x``, finite where eigenvalues are equal."""
    roots, vectors = _roots(*primals)
    inverted = _reciprocals(roots)
    sums = roots[:, None] + roots[None]
    both = inverted[:, None] * inverted[None] * -_reciprocals(sums)
    # between the space where the matrix is zero, and stays so, and the rest, the function is 0 at 0
    one = jnp.where(roots[:, None] > 0, inverted[:, None], inverted[None]) ** 3
    either = (roots[:, None] > 0) ^ (roots[None] > 0)
    moved = vectors.T @ tangents[0] @ vectors
    return inverse_root(*primals), vectors @ (jnp.where(either, one, both) * moved) @ vectors.T

"""Stochastic Lanczos quadrature: a random direction sees a function of a matrix through a few of its products."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._types import Array, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._lanczos import lanczos, tridiagonal
from jaxgrad.curvature._engine._probes import Probes, mapped
from jaxgrad.curvature._engine._symmetric import Times

__all__ = ["Quadrature", "quadrature"]


class Quadrature(NamedTuple):
    """For every direction v: ``v . f(A) v`` is ``squares * sum(weights * f(nodes))``."""

    nodes: Array
    """Of shape ``(n, m)``."""
    weights: Array
    """Of shape ``(n, m)``; they add up to one along the last axis."""
    squares: Array
    """The squared lengths of the directions, of shape ``(n,)``."""
    probes: Tree
    """The directions, a stack."""
    inverses: Tree
    """The inverse of the matrix times each of them, as far as the Krylov space goes, a stack; or ``None``."""


def quadrature(apply: Times, probes: Probes, num_products: int, *, inverses: bool = False) -> Quadrature:
    """Build a Krylov space from every direction; ``probes.chunk`` of them are in memory at once.

    matfree has this for flat vectors, and divides by zero where a space is invariant, as that of a damped matrix of
    low rank soon is.
    """

    def of_one(source: Array) -> Quadrature:
        probe = probes.draw(source)
        space = lanczos(apply, probe, num_products)
        nodes, vectors = jnp.linalg.eigh(tridiagonal(space))
        square = _tree.dot(probe, probe)
        # of T^-1 e_1 by its eigenvectors
        inside = vectors @ (vectors[0] / nodes) * jnp.sqrt(square)
        image = _stacks.combine(inside, space.basis) if inverses else None
        return Quadrature(nodes, vectors[0] ** 2, square, probe if inverses else None, image)

    return mapped(of_one, probes.source, probes.chunk)

"""Matrices with eigenvalues of one's choice, and the product with them that takes a tree of two leaves."""

import numpy as np
from jax.flatten_util import ravel_pytree

from tests.bridge import to_jax

__all__ = ["draw", "matrix_product"]


def matrix_product(params, vector, matrix):
    """A symmetric matrix times a dictionary of two leaves."""
    flat, tree = ravel_pytree(vector)
    return tree(matrix @ flat)


def draw(eigenvalues, seed=0):
    """Return a matrix with these eigenvalues, and a tree of its size."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=[len(eigenvalues)] * 2))[0]
    tree = to_jax({"a": np.ones(2), "b": np.ones((len(eigenvalues) - 2, 1))})
    return tree, to_jax(rotation * np.asarray(eigenvalues) @ rotation.T)

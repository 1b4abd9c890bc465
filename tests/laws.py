"""Laws that several families share, as functions that a test applies to its own operator."""

from collections.abc import Callable
from typing import Any

import jax

from jaxgrad import _tree
from tests.bridge import assert_parity, random_like

__all__ = ["assert_linear", "assert_sums_to", "assert_symmetric"]


def assert_linear(operator: Callable[[Any], Any], like: Any) -> None:
    """``A(2u - 3v) = 2 Au - 3 Av``."""
    u, v = random_like(like, 1), random_like(like, 2)
    combined = operator(jax.tree.map(lambda a, b: 2 * a - 3 * b, u, v))
    assert_parity(combined, jax.tree.map(lambda a, b: 2 * a - 3 * b, operator(u), operator(v)))


def assert_symmetric(operator: Callable[[Any], Any], like: Any) -> None:
    """``u . A v = v . A u``."""
    u, v = random_like(like, 1), random_like(like, 2)
    assert_parity(_tree.dot(u, operator(v)), _tree.dot(v, operator(u)))


def assert_sums_to(rows: Any, whole: Any) -> None:
    """The rows of every leaf add up to the whole."""
    assert_parity(jax.tree.map(lambda leaf: leaf.sum(0), rows), whole)

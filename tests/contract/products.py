"""Counts the products of matrices in a traced program, those in a loop as often as it goes round.

XLA's own count takes the body of a loop once, which says nothing of an iteration whose steps the caller chooses.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr
from tests.contract.costs import cost_of

__all__ = ["FEW", "Products", "check_products"]

SIZE = 4096
"""How many parameters: beside a product with a matrix of these, those with a few vectors are next to nothing."""

FEW = 512
"""So many where what is done beside the products is counted."""


def operations(jaxpr: Any, turns: int) -> int:
    """Return the multiplications and additions of all products of matrices, of a `while` loop with so many turns."""
    total = 0
    for eqn in jaxpr.eqns:
        scan, loop, chosen = _jaxpr.as_scan(eqn), _jaxpr.as_while(eqn), _jaxpr.branches(eqn)
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        elif scan:
            total += scan.length * operations(scan.body.jaxpr, turns)
        elif loop:
            total += turns * operations(loop.body.jaxpr, turns)
        elif chosen:
            total += max(operations(branch.jaxpr, turns) for branch in chosen)
        else:
            total += sum(operations(inner, turns) for inner in _jaxpr.functions(eqn))
    return total


def counted(program: Callable[..., Any], size: int, turns: int) -> int:
    """Return the operations of a program of some parameters and a matrix that its results depend on."""
    of = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    traced = jax.make_jaxpr(program)(of((size,)), of((size, size)))
    live, _ = _jaxpr.needed(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return operations(live, turns)


class Products(NamedTuple):
    """A sentence of a Cost line that counts products with a matrix, and a program of such products."""

    name: str
    words: str
    """As they stand in the docstring."""
    claimed: Callable[[int], float]
    """The number of products, or of operations beside them where ``products`` is given."""
    program: Callable[[int], Any]
    """Returns a function of parameters, a vector, and a matrix."""
    sizes: tuple[int, ...] = (4, 8)
    products: Callable[[int], int] | None = None
    """Where the claim is of what is done beside them: how many products there are."""
    turns: int = 1
    """How often a `while` loop goes round."""


def check_products(claim: Products) -> None:
    """Assert that the words stand in the docstring, and that the count is what they say, within a twentieth."""
    assert claim.words in cost_of(claim.name)
    for size in claim.sizes:
        if claim.products is None:
            found = counted(claim.program(size), SIZE, claim.turns) / (2 * SIZE**2)
        else:
            found = counted(claim.program(size), FEW, claim.turns) - claim.products(size) * 2 * FEW**2
        assert 0.95 * claim.claimed(size) <= found <= 1.05 * claim.claimed(size), (size, found)

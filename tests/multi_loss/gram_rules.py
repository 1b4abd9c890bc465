"""Matrices that every rule of a Gram matrix is tried on, and what is tried: one program a rule, evaluated once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import multi_loss

__all__ = ["FAMOUS", "KEY", "ROWS", "RULES", "Rule", "evaluated", "named", "slopes", "vectors"]

KEY = jax.random.key(3)
FAMOUS = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
"""The rows of TorchJD's own known answers."""


class Rule(NamedTuple):
    """A rule, and which laws it has."""

    call: Callable[[Any], Any]
    is_conflict_free: bool = False
    """No gradient has a negative product with the vector."""
    is_additive: bool = False
    """The vector is linear in the lengths of the gradients."""
    is_still: bool = False
    """The vector is zero where the gradients have a positive combination that is."""
    degree: float = 1
    """By which power of the gradients' scale the vector grows."""
    moves: bool = True
    """Whether the weights have a derivative that is not zero."""
    depends: bool = True
    """Whether the weights depend on the matrix."""
    ordered: bool = False
    """Whether the order of the losses decides: what is drawn, or given, for each, or which of two equals is first."""


RULES = {
    "mean_weights": Rule(multi_loss.mean_weights, is_additive=True, depends=False),
    "sum_weights": Rule(multi_loss.sum_weights, is_additive=True, depends=False),
    "constant_weights": Rule(
        functools.partial(multi_loss.constant_weights, preferences=np.array([1.0, 2.0, 0.5])),
        is_additive=True,
        depends=False,
        ordered=True,
    ),
    "random_weights": Rule(
        functools.partial(multi_loss.random_weights, key=KEY), is_additive=True, depends=False, ordered=True
    ),
    "mgda": Rule(multi_loss.mgda, is_conflict_free=True, is_still=True),
    "upgrad": Rule(multi_loss.upgrad, is_conflict_free=True, is_additive=True, is_still=True),
    "dual_projection": Rule(multi_loss.dual_projection, is_conflict_free=True, is_still=True),
    "pcgrad": Rule(functools.partial(multi_loss.pcgrad, key=KEY), is_additive=True, ordered=True),
    "cagrad": Rule(functools.partial(multi_loss.cagrad, radius=0.5)),
    "imtl_g": Rule(multi_loss.imtl_g, is_still=True),
    "nash_mtl": Rule(functools.partial(multi_loss.nash_mtl, max_norm=None), is_conflict_free=True, is_still=True),
    "aligned_mtl": Rule(multi_loss.aligned_mtl),
    "fairgrad": Rule(
        functools.partial(multi_loss.fairgrad, alpha=2.0), is_conflict_free=True, is_still=True, degree=-1 / 3
    ),
    "config": Rule(multi_loss.config, is_additive=True),
    "krum": Rule(functools.partial(multi_loss.krum, num_byzantine=0), moves=False, ordered=True),
}


def drawn() -> dict[str, Any]:
    """Return three rows in seven dimensions, or fewer that matter, by name."""
    rng = np.random.default_rng(7)
    rows = {f"drawn {i}": rng.normal(size=(3, 7)) for i in range(3)}
    # two gradients that conflict with the third, and with each other
    rows["in conflict"] = rng.normal(size=(3, 7)) + 3 * np.array([[1.0], [-0.6], [-0.5]])
    first = rows["in conflict"]
    rows["permuted"] = first[[2, 0, 1]]
    rows |= {f"times {scale:g}": first * scale for scale in (1e-15, 1e-5, 1e5, 1e15)}
    rows |= {"lengths a": first * [[1.0], [3.0], [0.5]], "lengths b": first * [[4.0], [0.1], [2.0]]}
    rows["lengths a + b"] = rows["lengths a"] + rows["lengths b"]
    rows["of mixed lengths"] = first * [[1e-8], [1.0], [1e6]]
    rows["of rank 2"] = np.array([[1.0, 0], [0.4, 1], [-0.3, 0.8]]) @ rng.normal(size=(2, 7))
    rows["equal"] = first[[0, 1, 0]]
    rows["opposite"] = first * 0 + first[:1] * [[1.0], [-2.0], [0.5]]
    rows["stationary"] = np.array([[3.0, 0], [-0.5, 1], [-0.25, -0.5]]) @ rng.normal(size=(2, 7))
    rows["with a row of zeros"] = first * [[1.0], [1.0], [0.0]]
    rows["all zeros"] = first * 0
    return rows


ROWS = drawn()
NAMES = [*ROWS, "with a NaN", "with an infinity"]
GRAMS = np.stack([rows @ rows.T for rows in ROWS.values()] + [np.full((3, 3), np.nan), np.diag([1.0, np.inf, 1.0])])


@functools.cache
def program(name: str) -> Any:
    """Return a rule on the stack of all matrices, compiled."""
    return jax.jit(jax.vmap(RULES[name].call))


@functools.cache
def slope_program(name: str) -> Any:
    """Return the gradient of a combination of a rule's weights, on the stack."""
    along = jnp.asarray([0.3, -0.7, 1.1])
    return jax.jit(jax.vmap(jax.grad(lambda gram: jnp.sum(RULES[name].call(gram) * along.astype(gram.dtype)))))


@functools.cache
def evaluated(name: str) -> Any:
    """Return the weights of a rule on all matrices."""
    return np.asarray(program(name)(GRAMS))


def slopes(name: str) -> Any:
    """Return the gradients of ``0.3 w_0 - 0.7 w_1 + 1.1 w_2`` on all matrices."""
    return np.asarray(slope_program(name)(GRAMS))


def named(name: str, matrix: str) -> Any:
    """Return the weights of a rule on one of the matrices."""
    return evaluated(name)[NAMES.index(matrix)]


def vectors(name: str, matrix: str) -> Any:
    """Return what a rule makes of the rows of one of the matrices."""
    return named(name, matrix) @ ROWS[matrix]

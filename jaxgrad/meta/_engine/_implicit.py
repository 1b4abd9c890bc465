"""The derivative of a loss at an inner minimum, by the implicit function theorem."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree, curvature, gradient
from jaxgrad._types import Array, Params, Tree
from jaxgrad.curvature._engine import _iterations, _stacks

__all__ = ["SOLVERS", "Slope", "Solver", "System", "implicit_slope"]

Solver = Literal["cg", "neumann", "identity"]
"""How the linear system of the theorem is solved."""

SOLVERS = ("cg", "neumann", "identity")


class System(NamedTuple):
    """How the linear system is solved, and how far."""

    solver: Solver
    num_iterations: Any
    tolerance: Any
    damping: Any = 0.0
    """What is added to the diagonal of the inner Hessian."""
    scale: Any = 1.0
    """The number times the identity that ``solver="identity"`` takes the Hessian for."""


class Slope(NamedTuple):
    """The outer loss at an inner minimum, and its derivative."""

    value: Array
    gradient: Tree
    """By what moves the minimum."""
    aux: Tree
    solution: curvature.Solution[Any]
    """Of the linear system."""
    inner_gradient_norm: Array
    """The norm of the inner gradient, which is zero at a minimum: how far from one the theorem was applied."""


def implicit_slope(
    inner: Callable[[Params, Tree], Array],
    outer: Callable[[Params, Tree], tuple[Array, Tree]],
    at: Params,
    moving: Tree,
    system: System,
) -> Slope:
    r"""Return the total derivative of the outer loss, whose first argument is the minimum of the inner one.

    With :math:`w^*(h) = \arg\min_w \text{inner}(w, h)` the inner gradient stays zero as ``h`` moves, so that

    .. math:: \frac{d}{dh} \text{outer}(w^*(h), h) = \partial_h \text{outer} - u^T \partial_h \partial_w \text{inner},
              \qquad (\partial_w^2 \text{inner} + \delta I)\, u = \partial_w \text{outer}.

    Args:
        inner: ``inner(w, h) -> ()``.
        outer: ``outer(w, h) -> ((), aux)``.
        at: The minimum, or what stands for it.
        moving: What it depends on, ``h``.
        system: How the linear system is solved.
    """
    # inside of shard_map the derivative is that of the device's own losses
    at, moving = _sharding.own(lambda both: (inner(*both), outer(*both)[0]), (at, moving))
    (value, aux), (slope, direct) = jax.value_and_grad(outer, argnums=(0, 1), has_aux=True)(at, moving)
    found = _solved(functools.partial(curvature.hvp, lambda at: inner(at, moving)), at, slope, system)
    # the inner gradient is differentiated as the steps take it: in reverse once more, not by the other order
    pulled = gradient.mixed_product(inner, at, found.solution, moving, mode="reverse-over-reverse")
    total = jax.tree.map(jnp.subtract, direct, pulled)
    return Slope(value, total, aux, found, _tree.norm(jax.grad(inner)(at, moving)))


def _solved(product: Callable[..., Any], at: Params, rhs: Params, system: System) -> curvature.Solution[Any]:
    """Solve the linear system, or take the identity for its matrix; the residual says what that is worth."""
    _check.choice(system.solver, "solver", SOLVERS)
    most = _check.count(system.num_iterations, "num_iterations", least=1)
    options: Any = {"damping": system.damping, "tolerance": system.tolerance}
    if system.solver != "identity":
        # the series is scaled by the largest eigenvalue, and the products that estimate it are no iterations of it
        spare = min(_iterations.BOUND, _stacks.size(at)) if system.solver == "neumann" else 0
        return curvature.solve(product, at, rhs, method=system.solver, max_products=most + spare, **options)
    _check.number(system.tolerance, "tolerance")
    x = jax.tree.map(lambda leaf: (leaf / system.scale).astype(leaf.dtype), rhs)
    image = _stacks.axpy(system.damping, x, product(at, x))
    left = _tree.norm(jax.tree.map(jnp.subtract, rhs, image))
    size = _tree.norm(rhs)
    relative = left / jnp.where(size > 0, size, jnp.ones_like(size))
    converged = relative <= jnp.asarray(system.tolerance, relative.dtype)
    return curvature.Solution(x, relative, jnp.zeros((), int), converged, jnp.zeros((), bool))

"""Differential operators in many variables, from derivatives along random lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, Key, R, Tree, Ts
from jaxgrad.nth import _taylor_line

__all__ = ["stochastic_operator"]

OPERATORS = ("laplacian", "biharmonic", "diagonal")


@jit("fun", "operator", "order", "num_samples")
def stochastic_operator(
    fun: Function[Array, *Ts, R],
    x: ArrayLike,
    *data: *Ts,
    operator: Literal["laplacian", "biharmonic", "diagonal"] = "laplacian",
    order: int = 2,
    probes: ArrayLike | None = None,
    key: Key | None = None,
    num_samples: int = 16,
) -> tuple[R, R]:
    r"""Estimate a differential operator from derivatives along random directions, without bias.

    .. math:: \mathcal{L} f(x) = c\, \mathbb{E}_v \left[ \left.\frac{d^n}{dt^n} f(x + t v)\right|_{t=0} \right]

    ``"laplacian"``: n = 2, c = 1, entries of v are -1 or 1. ``"biharmonic"``: n = 4, c = 1/3, v is standard normal.
    ``"diagonal"``: :math:`\sum_i \partial_i^n f` for n = ``order``, v is a random axis of length :math:`d^{1/n}`.

    Args:
        fun: ``fun(x, *data)``, returning an array or a pytree of arrays. Static: pass a named function, and arrays
            through ``data``. More in ``help(jaxgrad)``.
        x: The point, a real floating-point vector of length d; map over a batch with `jax.vmap`.
        *data: Pytrees handed on to ``fun``; not differentiated.
        operator: ``"laplacian"``, ``"biharmonic"`` or ``"diagonal"``.
        order: The order n of ``"diagonal"``, 1 or more; the other operators have their own.
        probes: The directions, shape ``(num_samples, d)``, in place of random ones.
        key: The random key that draws the directions.
        num_samples: How many to draw, two or more.

    Returns:
        ``(estimate, standard_error)``, each like the output of ``fun``: the mean over the directions, and the
        standard deviation of that mean as estimated from them. For an output of integers both are JAX's ``float0``.

    Raises:
        ValueError: If neither or both of ``probes`` and ``key`` are given, ``probes`` has another shape, or there is
            only one direction, or ``order`` is below 1.
        TypeError: If ``x`` is no real floating-point array.

    Cost:
        ``n * num_samples + 1`` evaluations, whatever d is.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def bowl(x):
        ...     return jnp.sum(x**2)
        >>> estimate, error = jaxgrad.nth.stochastic_operator(bowl, jnp.ones(1000), key=jax.random.key(0))
        >>> estimate.item(), error.item()
        (2000.0, 0.0)

    References:
        Shi et al. (2024), Stochastic Taylor derivative estimator, NeurIPS.
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.
    """
    _check.choice(operator, "operator", OPERATORS)
    x = _taylor_line.check_vector(x)
    degree = {"laplacian": 2, "biharmonic": 4}.get(operator) or _taylor_line.check_order(order, least=1)
    directions = _directions(x, operator, degree, probes, key, num_samples)
    scale = 1 / 3 if operator == "biharmonic" else 1.0

    def sample(direction: Array) -> Tree:
        top = _taylor_line.derivatives_along(lambda point: fun(point, *data), x, direction, degree)[-1]
        return jax.tree.map(_taylor_line.unless_float0(lambda leaf: scale * leaf), top)

    samples, count = jax.vmap(sample)(directions), directions.shape[0]

    def summary(of: Callable[[Array], Array]) -> Tree:
        return jax.tree.map(_taylor_line.unless_float0(of, lambda shape: shape[1:]), samples)

    return (
        summary(lambda s: jnp.mean(s, axis=0)),
        summary(lambda s: jnp.std(s, axis=0, ddof=1) / count**0.5),
    )


def _directions(x: Array, operator: str, order: int, probes: Any, key: Any, num_samples: int) -> Array:
    """Return the given directions, or draw them."""
    if (probes is None) == (key is None):
        message = "give probes=, the directions themselves, or key=, to draw them: one of the two"
        raise ValueError(message)
    if probes is not None:
        _check.numbers_like(probes, "probes", x)
        probes = jnp.asarray(probes, x.dtype)
        if probes.ndim != 2 or probes.shape[1] != x.size:
            message = f"probes must have the shape (num_samples, {x.size}); got {probes.shape}"
            raise ValueError(message)
        _check.count(len(probes), "num_samples", least=2)
        return probes
    count = _check.count(num_samples, "num_samples", least=2)
    if operator == "laplacian":
        return jax.random.rademacher(key, (count, x.size), dtype=x.dtype)
    if operator == "biharmonic":
        return jax.random.normal(key, (count, x.size), dtype=x.dtype)
    axes = jax.random.randint(key, (count,), 0, x.size)
    return jax.nn.one_hot(axes, x.size, dtype=x.dtype) * x.size ** (1 / order)

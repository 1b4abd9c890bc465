"""A function of Taylor series."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Tree
from jaxgrad.nth import _line
from jaxgrad.nth._engine import Mode, Series, scale, taylor

__all__ = ["jet"]


@jit("fun", "factorial_scaled")
def jet(
    fun: Callable[..., Tree], primals: Sequence[Tree], series: Sequence[Sequence[Tree]], factorial_scaled: bool = True
) -> tuple[Tree, Tree]:
    r"""Push Taylor series through a function, in place of `jax.experimental.jet.jet`.

    .. math:: h(t) = x + \sum_{k=1}^n \frac{h_k}{k!} t^k, \qquad
        f(h(t)) = f(x) + \sum_{k=1}^n \frac{y_k}{k!} t^k + O(t^{n+1})

    Args:
        fun: ``fun(*primals)``, returning an array or a pytree of arrays. Static: pass a named function.
        primals: The point, one array (or pytree) for each argument of ``fun``.
        series: For each argument the list of :math:`h_1, \dots, h_n`, each like the argument, all lists of one
            length. ``None`` stands for zero, and saves the work on it.
        factorial_scaled: Whether the coefficients are derivatives, as above; otherwise they are normalised,
            :math:`h_k / k!`.

    Returns:
        The value, and the value's tree with the list :math:`y_1, \dots, y_n` at every leaf.

    Raises:
        ValueError: If the lists differ in length or shape from the primals.
        TypeError: If a primal is no real floating-point array.

    Cost:
        About ``n + 1`` evaluations where one operand of each product is constant.

    Example:
        >>> import jax.numpy as jnp
        >>> jet(jnp.square, (3.0,), ((1.0, 0.0),))
        (Array(9., dtype=float64...), [Array(6., dtype=float64...), Array(2., dtype=float64...)])

    References:
        Bettencourt, Johnson and Duvenaud (2019), Taylor-mode automatic differentiation for higher-order derivatives.
    """
    order = _check_series(primals, series)
    leaves, treedef = jax.tree.flatten(tuple(primals))
    structure: Any = treedef
    columns = [_column(primals, series, k) for k in range(order)]
    operands = [
        tuple(_normalised(row[i], leaf, k, factorial_scaled) for k, row in enumerate([leaves, *columns]))
        for i, leaf in enumerate(leaves)
    ]
    results, shape = taylor(lambda *moved: fun(*structure.unflatten(moved)), operands, Mode(order))
    return shape.unflatten([s[0] for s in results]), shape.unflatten([_terms(s, factorial_scaled) for s in results])


def _check_series(primals: Any, series: Any) -> int:
    """Return the number of coefficients."""
    if len(primals) != len(series):
        message = f"primals and series must pair up; got {len(primals)} and {len(series)}"
        raise ValueError(message)
    _check.differentiable(primals=tuple(primals))
    lengths = {len(terms) for terms in series}
    if len(lengths) > 1:
        message = f"all series must have one length; got {sorted(lengths)}"
        raise ValueError(message)
    return lengths.pop()


def _column(primals: Any, series: Any, k: int) -> list[Any]:
    """Return the coefficients of one degree, leaf by leaf of the primals; ``None`` for a known zero."""
    column: list[Any] = []
    for i, (primal, terms) in enumerate(zip(primals, series, strict=True)):
        leaves = jax.tree.leaves(primal)
        found = [None] * len(leaves) if terms[k] is None else jax.tree.leaves(terms[k])
        shapes = [jnp.shape(leaf) for leaf in found if leaf is not None]
        if len(found) != len(leaves) or (shapes and shapes != [jnp.shape(leaf) for leaf in leaves]):
            message = f"series[{i}][{k}] must be like primals[{i}]; its leaves have the shapes {shapes}"
            raise ValueError(message)
        for leaf, given in zip(leaves, found, strict=True):
            _check.numbers_like(given, f"series[{i}][{k}]", leaf)
        column += found
    return column


def _normalised(term: Any, primal: Any, k: int, factorial_scaled: bool) -> Any:
    """Return a coefficient divided by its factorial, in the dtype of the primal."""
    if term is None:
        return None
    term = jnp.asarray(term, jnp.result_type(primal))
    return scale(1 / _line.factorial(k), term) if factorial_scaled else term


def _terms(series: Series, factorial_scaled: bool) -> list[Any]:
    """Return the coefficients beyond the value as the caller counts them."""
    stored = [_line.stored(series, k) for k in range(1, len(series))]
    return [_line.times_factorial(c, k) for k, c in enumerate(stored, 1)] if factorial_scaled else stored

"""A function of Taylor series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgrad import _check, _static
from jaxgrad._jit import jit
from jaxgrad._types import AnyData, Array, Function, R, Tree, Ts
from jaxgrad.nth import _taylor_line
from jaxgrad.nth._engine import Mode, Series, taylor

__all__ = ["jet"]


@overload
def jet(
    fun: Function[Array, R],
    primals: tuple[ArrayLike],
    series: Sequence[Sequence[Tree]],
    factorial_scaled: bool = True,
) -> tuple[R, Tree]: ...
@overload
def jet(
    fun: Function[Array, Array, R],
    primals: tuple[ArrayLike, ArrayLike],
    series: Sequence[Sequence[Tree]],
    factorial_scaled: bool = True,
) -> tuple[R, Tree]: ...
@overload
def jet(
    fun: Callable[[*Ts], R] | AnyData[R],
    primals: tuple[*Ts],
    series: Sequence[Sequence[Tree]],
    factorial_scaled: bool = True,
) -> tuple[R, Tree]: ...
@overload
def jet(
    fun: Callable[..., R],
    primals: list[Any],
    series: Sequence[Sequence[Tree]],
    factorial_scaled: bool = True,
) -> tuple[R, Tree]: ...
def jet(
    fun: Callable[..., R], primals: Sequence[Tree], series: Sequence[Sequence[Tree]], factorial_scaled: bool = True
) -> tuple[R, Tree]:
    r"""Push Taylor series through a function, in place of `jax.experimental.jet.jet`.

    .. math:: h(t) = x + \sum_{k=1}^n \frac{h_k}{k!} t^k, \qquad
        f(h(t)) = f(x) + \sum_{k=1}^n \frac{y_k}{k!} t^k + O(t^{n+1})

    Args:
        fun: ``fun(*primals)``, returning an array or a pytree of arrays. Static: pass a named function. More in
            ``help(jaxgrad)``.
        primals: The point, one array (or pytree) for each argument of ``fun``. Integers and bools are constants. With
            complex ones the series are complex and t is real: along it a function need not be holomorphic.
        series: For each argument the list of :math:`h_1, \dots, h_n`, each like the argument or one number for all
            of its entries, all lists of one length. ``None`` stands for zero, and saves the work on it; that, or a
            zero that is no traced value, is what a constant takes.
        factorial_scaled: Whether the coefficients are derivatives, as above; otherwise they are normalised,
            :math:`h_k / k!`.

    Returns:
        The value, and the value's tree with the list :math:`y_1, \dots, y_n` at every leaf.

    Raises:
        ValueError: If the lists differ in length or shape from the primals, there is no primal, or an integer has a
            series.
        TypeError: If a primal is no array, or a series complex and its primal real.

    Cost:
        About ``n + 1`` evaluations where one operand of each product is constant.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> value, terms = jaxgrad.nth.jet(jnp.square, (3.0,), ((1.0, 0.0),))
        >>> value.item(), [term.item() for term in terms]
        (9.0, [6.0, 2.0])

    References:
        Bettencourt, Johnson and Duvenaud (2019), Taylor-mode automatic differentiation for higher-order derivatives.
    """
    _static.refuse_no_function(fun, "jet: fun", {"primals": primals})
    _check_pairs(primals, series)
    terms = [
        [_like(primal, term, f"series[{i}][{k}]", f"primals[{i}]") for k, term in enumerate(terms)]
        for i, (primal, terms) in enumerate(zip(primals, series, strict=True))
    ]
    return _of_leaves(fun, tuple(primals), terms, factorial_scaled)


@jit("fun", "factorial_scaled", name="jet")
def _of_leaves(fun: Callable[..., Tree], primals: Any, series: Any, factorial_scaled: bool) -> tuple[Tree, Tree]:
    """Push series through a function, each coefficient a list of the primal's leaves."""
    leaves, treedef = jax.tree.flatten(primals)
    structure: Any = treedef
    rows = [[leaf for terms in series for leaf in terms[k]] for k in range(len(series[0]))]
    step = _taylor_line.stretch(
        [leaf for leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)], len(rows)
    )
    factors = [step**k / (_taylor_line.factorial(k) if factorial_scaled else 1) for k in range(len(rows) + 1)]
    operands = [
        (leaf, *[_multiplied(row[i], leaf, factor) for row, factor in zip(rows, factors[1:], strict=True)])
        for i, leaf in enumerate(leaves)
    ]
    results, shape = taylor(lambda *moved: fun(*structure.unflatten(moved)), operands, Mode(len(rows)))
    return shape.unflatten([s[0] for s in results]), shape.unflatten([_terms(s, factors) for s in results])


jet.programs = _of_leaves.programs  # type: ignore[attr-defined]


def _check_pairs(primals: Any, series: Any) -> None:
    """Refuse lists that do not pair up, and a function of nothing."""
    if len(primals) != len(series):
        message = f"primals and series must pair up; got {len(primals)} and {len(series)}"
        raise ValueError(message)
    if not jax.tree.leaves(tuple(primals)):
        message = f"primals must hold an argument of fun that is an array; got {primals!r}: there is nothing to move"
        raise ValueError(message)
    lengths = {len(terms) for terms in series}
    if len(lengths) > 1:
        message = f"all series must have one length; got {sorted(lengths)}"
        raise ValueError(message)


def _like(primal: Any, term: Any, where: str, owner: str) -> list[Any]:
    """Return the leaves of a coefficient, ``None`` for known zeros; integers do not move."""
    leaves, treedef = jax.tree.flatten(primal)
    structure: Any = treedef
    if term is None:
        return [None] * len(leaves)
    try:
        found = structure.flatten_up_to(term)
    except (ValueError, TypeError) as error:
        message = f"{where} must be like {owner}, a tree of its structure: {error}"
        raise ValueError(message) from None
    return [_leaf_like(leaf, own, where, owner) for leaf, own in zip(leaves, found, strict=True)]


def _leaf_like(leaf: Any, own: Any, where: str, owner: str) -> Any:
    """Return a coefficient of one array, which may be one number for all of its entries.

    Raises:
        ValueError: If it has another shape.
        TypeError: If it moves an integer, has no numbers, or is complex and the array real.
    """
    moves = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    if own is None or (not moves and jnp.result_type(own) == jax.dtypes.float0):
        return None
    if jnp.shape(own) not in (jnp.shape(leaf), ()):
        message = f"{where} must be like {owner}, of shape {jnp.shape(leaf)}, or one number; got {jnp.shape(own)}"
        raise ValueError(message)
    if not moves:
        if isinstance(own, jax.core.Tracer) or np.any(own):
            message = (
                f"{owner} must be floating-point to move; got {_check.describe(leaf)}, which is a constant, and {where}"
                " moves it: give None there, or a zero that is not traced; for what moves, write 1.0 in place of 1"
            )
            raise TypeError(message)
        return None
    if _check.is_complex(own) and not _check.is_complex(leaf):
        message = f"{where} is complex and {owner} real; got {_check.describe(own)}: give {owner} as a complex array"
        raise TypeError(message)
    _check.numbers_like(own, where, leaf)
    return own


def _multiplied(term: Any, primal: Any, factor: float) -> Any:
    """Return a coefficient times a factor, in the dtype and shape of the primal."""
    if term is None:
        return None
    whole = jnp.broadcast_to(jnp.asarray(term, jnp.result_type(primal)), jnp.shape(primal))
    return _taylor_line.multiplied(factor, whole)


def _terms(series: Series, factors: Sequence[float]) -> list[Any]:
    """Return the coefficients beyond the value as the caller counts them."""
    return [_taylor_line.multiplied(1 / factors[k], _taylor_line.stored(series, k)) for k in range(1, len(series))]

"""Rules of solves and factorisations: one factorisation of the value, and the equation of each degree solved by it."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._collapse import collapsed
from jaxgrad.nth._engine._interpret import differentiate, evaluate
from jaxgrad.nth._engine._matrices import (
    adjoint,
    convolved,
    diagonal,
    imaginary,
    map_series,
    on_diagonal,
    solve_left,
    solve_right,
    spread,
    times_matrix,
    transpose,
)
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, add, constant, is_constant, subtract

__all__: list[str] = []


@rule("triangular_solve", sums=True)
@collapsed
def triangular_solve(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``a_0 x_k = b_k - sum a_j x_{k-j}`` for every degree, from either side."""
    (a, b), left = operands, eqn.params["left_side"]
    moving = (None, *map_series(lambda c: _read_by_triangular_solve(c, eqn.params), a[1:]))
    x: list[Any] = bind(eqn, a[0], b[0])
    for k in range(1, mode.order + 1):
        pairs = [(moving[j], x[k - j]) for j in range(1, k + 1)]
        rest = subtract(b[k], add(*[times_matrix(c, y) if left else times_matrix(y, c) for c, y in pairs]))
        x.append(None if rest is None else bind(eqn, a[0], rest)[0])
    return [tuple(x)]


def _read_by_triangular_solve(c: Any, params: dict[str, Any]) -> Any:
    """Return what a triangular solve multiplies with: the triangle, a unit diagonal does not move."""
    off = 1 if params["unit_diagonal"] else 0
    c = jnp.tril(c, -off) if params["lower"] else jnp.triu(c, off)
    c = transpose(c) if params["transpose_a"] else c
    return jnp.conj(c) if params["conjugate_a"] else c


@rule("custom_linear_solve", sums=True)
@collapsed
def linear_solve(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve with the value's own solver for every degree, and take what ``A_j x_i`` adds off the later ones.

    The solver's constants, such as a factorisation, are read by value: they do not move.
    """
    problem = _jaxpr.linear_solve(eqn)
    assert problem is not None, "the rule is entered for linear solves alone"
    given, b, matvec = operands[: problem.consts], operands[problem.consts :], problem.matvec
    a = operands[: problem.matvec_consts]
    rests, rows = [list(series) for series in b], []
    for k in range(mode.order + 1):
        solved = _solved(eqn, given, b, [rest[k] for rest in rests])
        # what a solver tells beside its solution does not move
        rows.append([c if k == 0 or i < len(b) else None for i, c in enumerate(solved)])
        still = [constant(c, mode.order - k) for c in rows[-1][: len(b)]]
        if rows[-1][0] is None or k == mode.order or all(is_constant(series) for series in a):
            continue
        cut = [series[: mode.order - k + 1] for series in a]
        images = evaluate(matvec.jaxpr, matvec.consts, cut + still, Mode(mode.order - k))
        for rest, image in zip(rests, images, strict=True):
            rest[k + 1 :] = [subtract(c, moved) for c, moved in zip(rest[k + 1 :], image[1:], strict=True)]
    return [tuple(row[i] for row in rows) for i in range(len(eqn.outvars))]


def _solved(eqn: Any, given: list[Series], b: list[Series], right: list[Any]) -> list[Any]:
    """Solve for one degree."""
    if all(c is None for c in right):
        return [None] * len(eqn.outvars)
    stored = [jnp.zeros_like(series[0]) if c is None else c for c, series in zip(right, b, strict=True)]
    return bind(eqn, *[series[0] for series in given], *stored)


@rule("tridiagonal_solve", sums=True)
@collapsed
def tridiagonal_solve(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``a_0 x_k = b_k - sum a_j x_{k-j}`` for three diagonals."""
    *diagonals, b = operands
    x: list[Any] = bind(eqn, *[series[0] for series in operands])
    for k in range(1, mode.order + 1):
        terms = [_banded([d[j] for d in diagonals], x[k - j]) for j in range(1, k + 1)]
        rest = subtract(b[k], add(*terms))
        x.append(None if rest is None else bind(eqn, *[d[0] for d in diagonals], rest)[0])
    return [tuple(x)]


def _banded(diagonals: Sequence[Any], x: Any) -> Any:
    """Multiply columns by three diagonals; the first of the lower and the last of the upper are not read."""
    if x is None:
        return None
    below, middle, above = [None if d is None else d[..., None] for d in diagonals]
    before = jnp.concatenate([jnp.zeros_like(x[..., :1, :]), x[..., :-1, :]], axis=-2)
    behind = jnp.concatenate([x[..., 1:, :], jnp.zeros_like(x[..., :1, :])], axis=-2)
    pairs = [(below, before), (middle, x), (above, behind)]
    return add(*[None if d is None else d * y for d, y in pairs])


@rule("cholesky", sums=True)
@collapsed
def cholesky(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    r"""Solve ``L L^H = A``: ``L_k`` is ``L_0`` times the lower half of ``L_0^-1 (A_k - sum L_j L_{k-j}^H) L_0^-H``.

    References:
        Murray (2016), Differentiation of the Cholesky decomposition, equation 8; here with lower degrees.
    """
    (a,) = operands
    factor: list[Any] = bind(eqn, a[0])
    value = jnp.tril(factor[0])
    for k in range(1, mode.order + 1):
        rest = subtract(a[k], convolved(factor, map_series(adjoint, factor), k, 1, k - 1))
        if rest is None:
            factor.append(None)
            continue
        inner = solve_right(value, solve_left(value, rest, lower=True), lower=True, adjoint_of=True)
        factor.append(times_matrix(value, jnp.tril(inner) - inner * _half(inner)))
    return [tuple(factor)]


def _half(a: Any) -> Any:
    """Return half the identity of a matrix's size."""
    return spread(np.eye(a.shape[-1]) / 2, a)


@rule("lu", sums=True)
@collapsed
def lu(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Solve ``L U = P A``: the parts below and above the diagonal of ``L_0^-1 (P A_k - sum L_j U_{k-j}) U_0^-1``."""
    (a,) = operands
    value, pivots, permutation = bind(eqn, a[0])
    smaller = min(value.shape[-2:])
    lower, upper = _unit_lower(value, smaller), _upper(value, smaller)
    full_lower, full_upper = _squared(lower, -1), _squared(upper, -2)
    rows, lowers, uppers = [value], [lower], [upper]
    for k in range(1, mode.order + 1):
        moved = None if a[k] is None else jnp.take_along_axis(a[k], permutation[..., None], axis=-2)
        rest = subtract(moved, convolved(lowers, uppers, k, 1, k - 1))
        if rest is None:
            rows, lowers, uppers = [*rows, None], [*lowers, None], [*uppers, None]
            continue
        inner = solve_right(full_upper, solve_left(full_lower, rest, lower=True, unit=True), lower=False)
        row = times_matrix(full_lower, jnp.tril(inner, -1)) + times_matrix(jnp.triu(inner), full_upper)
        rows.append(row)
        lowers.append(jnp.tril(row, -1)[..., :smaller])
        uppers.append(_upper(row, smaller))
    return [tuple(rows), constant(pivots, mode.order), constant(permutation, mode.order)]


def _unit_lower(value: Any, smaller: int) -> Any:
    return jnp.tril(value, -1)[..., :smaller] + spread(np.eye(value.shape[-2], smaller), value)


def _upper(value: Any, smaller: int) -> Any:
    return jnp.triu(value)[..., :smaller, :]


def _squared(a: Any, axis: int) -> Any:
    """Make a trapezoid square by the columns or rows of an identity that are missing."""
    size, given = a.shape[-1 if axis == -2 else -2], a.shape[axis]
    if size == given:
        return a
    eye = jnp.eye(size, dtype=a.dtype)
    missing = eye[:, given:] if axis == -1 else eye[given:]
    return jnp.concatenate([a, jnp.broadcast_to(missing, (*a.shape[:-2], *missing.shape))], axis=axis)


@rule("qr", sums=True)
@collapsed
def qr(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Solve ``Q R = A`` with ``Q^H Q = I``, of a matrix whose leading columns are independent.

    The columns that complete Q to a square belong to no equation: what JAX says of them is taken.
    """
    rows, columns = operands[0][0].shape[-2:]
    if eqn.params["full_matrices"] and rows > columns:
        return differentiate(eqn, operands, mode)
    q, r, *permutation = bind(eqn, operands[0][0])
    a = operands[0]
    if permutation:
        a = map_series(lambda c: jnp.take_along_axis(c, permutation[0][..., None, :], -1), a)
    qs, rs = _thin(map_series(lambda c: c[..., : q.shape[-1]], a), q, r[..., : q.shape[-1]], mode)
    if columns > rows:
        beside = map_series(lambda c: c[..., rows:], a)
        adjoints = map_series(adjoint, qs)
        further = [convolved(adjoints, beside, k) for k in range(1, mode.order + 1)]
        rs = [r, *[_beside(c, d, r) for c, d in zip(rs[1:], further, strict=True)]]
    return [tuple(qs), tuple(rs), *[constant(p, mode.order) for p in permutation]]


def _beside(c: Any, d: Any, r: Any) -> Any:
    """Join the square part of a coefficient of R and the rest of it."""
    c = jnp.zeros_like(r[..., : r.shape[-2]]) if c is None else c
    d = jnp.zeros_like(r[..., r.shape[-2] :]) if d is None else d
    return jnp.concatenate([c, d], axis=-1)


def _thin(a: Series, q: Any, r: Any, mode: Mode) -> tuple[list[Any], list[Any]]:
    """Return the series of the factors of a matrix with as many rows as columns or more.

    Of ``X = Q_0^H Q_k`` the part below the diagonal is that of ``M = Q_0^H C R_0^-1``, and ``X + X^H`` is what
    orthogonality leaves; the diagonal of R stays real. What is left of M is ``R_k R_0^-1``.
    """
    qs, rs, adjoints = [q], [r], [adjoint(q)]
    for k in range(1, mode.order + 1):
        rest = subtract(a[k], convolved(qs, rs, k, 1, k - 1))
        overlap = convolved(adjoints, qs, k, 1, k - 1)
        if rest is None and overlap is None:
            qs, rs, adjoints = [*qs, None], [*rs, None], [*adjoints, None]
            continue
        scaled = solve_right(r, jnp.zeros_like(q) if rest is None else rest, lower=False)
        inner = times_matrix(adjoints[0], scaled)
        turn = _turn(inner, overlap)
        qs.append(scaled - times_matrix(q, inner - turn))
        rs.append(jnp.triu(times_matrix(inner - turn, r)))
        adjoints.append(adjoint(qs[-1]))
    return qs, rs


def _turn(inner: Any, overlap: Any) -> Any:
    """Return ``X`` from its part below the diagonal and from ``X + X^H = -overlap``."""
    below = jnp.tril(inner, -1)
    turn = below - adjoint(below)
    if jnp.iscomplexobj(inner):
        turn = turn + on_diagonal(imaginary(diagonal(inner)))
    return turn if overlap is None else turn - jnp.triu(overlap, 1) - overlap * _half(overlap)

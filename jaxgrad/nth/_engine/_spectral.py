"""Rules of eigenvalues and singular values that are distinct; at a tie they divide by zero, as JAX's jvp does."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._collapse import collapsed
from jaxgrad.nth._engine._interpret import differentiate
from jaxgrad.nth._engine._matrices import (
    adjoint,
    convolved,
    diagonal,
    map_series,
    on_diagonal,
    spread,
    times_matrix,
)
from jaxgrad.nth._engine._registry import Mode, rule
from jaxgrad.nth._engine._series import Series, add, subtract

__all__: list[str] = []


def _reciprocal_gaps(s: Any) -> Any:
    """Return ``1 / (s_l - s_i)``, and zero on the diagonal."""
    eye = spread(np.eye(s.shape[-1]), s[..., None])
    return 1 / (s[..., None, :] - s[..., None] + eye) - eye


def _own_part(u: Sequence[Any], adjoints: Sequence[Any], k: int) -> Any:
    r"""Return ``diag(U_0^H U_k)``, which keeps columns of length one and lets none turn its phase.

    .. math:: k\, (U_0^H U_k)_{ii} = -\sum_{0<j<k} (k-j) (U_j^H U_{k-j})_{ii}
    """
    pairs = [(j, adjoints[j], u[k - j]) for j in range(1, k) if u[j] is not None and u[k - j] is not None]
    # the diagonal of a product of matrices, without the product
    terms = [jnp.sum(jnp.swapaxes(a, -1, -2) * b, axis=-2) * ((j - k) / k) for j, a, b in pairs]
    return add(*terms)


def _stored(c: Any, like: Any) -> Any:
    return jnp.zeros_like(like) if c is None else c


@rule("eigh", sums=True)
@collapsed
def eigh(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Solve ``A V = V w`` in the basis of the vectors of ``A_0``."""
    (a,) = operands
    v, w = bind(eqn, a[0])
    if v.shape[-1] != v.shape[-2]:
        return differentiate(eqn, operands, mode)
    inner = (None, *map_series(lambda c: times_matrix(adjoint(v), times_matrix(c, v)), a[1:]))
    gaps, eye = _reciprocal_gaps(w).astype(v.dtype), jnp.broadcast_to(jnp.eye(v.shape[-1], dtype=v.dtype), v.shape)
    # the vectors, in that basis, their adjoints, and the values on a diagonal
    c, adjoints, d = [eye], [eye], [None]
    values, vectors = [w], [v]
    for k in range(1, mode.order + 1):
        moved = _stored(subtract(convolved(inner, c, k, first=1), convolved(c, d, k, 1, k - 1)), v)
        values.append(jnp.real(diagonal(moved)))
        d.append(on_diagonal(values[-1]).astype(v.dtype))
        own = _own_part(c, adjoints, k)
        c.append(gaps * moved if own is None else gaps * moved + on_diagonal(own))
        adjoints.append(adjoint(c[-1]))
        vectors.append(times_matrix(v, c[-1]))
    return [tuple(vectors), tuple(values)]


@rule("svd", sums=True)
@collapsed
def svd(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Solve ``A V = U S`` and ``A^H U = V S``; of a wide matrix those of its adjoint."""
    (a,) = operands
    s, *vectors = bind(eqn, a[0])
    if eqn.params["full_matrices"] and vectors and a[0].shape[-1] != a[0].shape[-2]:
        return differentiate(eqn, operands, mode)
    if not vectors:
        u, _, vh = lax.linalg.svd(a[0], full_matrices=False)
        vectors = [u, vh]
    u, vh = vectors
    if u.shape[-2] >= vh.shape[-1]:
        us, ss, vs = _singular_triples(a, (u, s, adjoint(vh)), mode)
    else:
        vs, ss, us = _singular_triples(map_series(adjoint, a), (adjoint(vh), s, u), mode)
    results = [ss, us, map_series(adjoint, vs)]
    return results if len(eqn.outvars) > 1 else results[:1]


def _singular_triples(a: Series, value: tuple[Any, Any, Any], mode: Mode) -> tuple[Series, Series, Series]:
    """Return the series of U, S and V of a matrix with as many rows as columns or more."""
    u, s, v = value
    adjoints_of_a = map_series(adjoint, a)
    gap, row = _reciprocal_gaps(s), s[..., None, :].astype(u.dtype)
    column = jnp.swapaxes(row, -1, -2)
    # of squares, by factors
    sums = s[..., None, :] + s[..., None]
    gaps = (gap / jnp.where(sums == 0, jnp.ones_like(sums), sums)).astype(u.dtype)
    us, vs, values, d = [u], [v], [s], [None]
    uh, vh = [adjoint(u)], [adjoint(v)]
    for k in range(1, mode.order + 1):
        image = _stored(subtract(convolved(a, vs, k, first=1), convolved(us, d, k, 1, k - 1)), u)
        back = _stored(subtract(convolved(adjoints_of_a, us, k, first=1), convolved(vs, d, k, 1, k - 1)), v)
        e, g = times_matrix(uh[0], image), times_matrix(vh[0], back)
        own_u, own_v = [_stored(_own_part(w, wh, k), e[..., 0]) for w, wh in ((us, uh), (vs, vh))]
        own = diagonal(e)
        values.append(jnp.real(own) + s * jnp.real(own_v - own_u))
        # the phases of V stay, and those of U follow from them
        phase = jnp.imag(own_v) + jnp.imag(own) / _nonzero(s)
        turn = lax.complex(jnp.real(own_u), phase) if jnp.iscomplexobj(e) else own_u
        d.append(on_diagonal(values[-1]).astype(u.dtype))
        new = times_matrix(u, gaps * (row * e + column * g) + on_diagonal(turn))
        if u.shape[-2] > u.shape[-1]:
            new = new + (image - times_matrix(u, e)) / row
        us.append(new)
        vs.append(times_matrix(v, gaps * (column * e + row * g) + on_diagonal(own_v)))
        uh.append(adjoint(us[-1]))
        vh.append(adjoint(vs[-1]))
    return tuple(us), tuple(values), tuple(vs)


def _nonzero(s: Any) -> Any:
    return jnp.where(s == 0, jnp.ones_like(s), s)

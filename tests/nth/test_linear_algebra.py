"""Series of solves and factorisations: the equations that they solve hold degree by degree, at every rank of a det."""

import jax
import jax.numpy as jnp
import jax.scipy as jsc
import numpy as np
import pytest
from jax import lax
from jax.extend import core

from jaxgrad.nth import derivatives, laplacian, taylor_coefficients
from tests.bridge import assert_parity
from tests.turns import covering, one_in

# numbers are compared here, not speed
pytestmark = pytest.mark.usefixtures("compiled_quickly")

ORDER = 6
RNG = np.random.default_rng(0)
REAL = {shape: RNG.normal(size=(3, *shape)) / 2 for shape in [(4, 4), (5, 3), (3, 5), (2, 4, 4)]}
COMPLEX = {shape: rows + 0.5j * RNG.normal(size=rows.shape) for shape, rows in REAL.items()}
B = RNG.normal(size=(4, 2))
T = jnp.array(0.3)


def path(shape, table=REAL):
    """A curve of matrices, not straight."""
    first, slope, bent = [jnp.asarray(row) for row in table[shape]]
    size = min(shape[-2:])
    if size == max(shape[-2:]):
        first = first + np.broadcast_to(3 * np.eye(size), shape).astype(first.dtype)
    return lambda t: first + t.astype(first.dtype) * slope + jnp.sin(t).astype(first.dtype) * bent


def hermitian(curve):
    return lambda t: (lambda a: a @ adjoint(a) + np.broadcast_to(np.eye(a.shape[-1]), a.shape).astype(a.dtype))(
        curve(t)
    )


def adjoint(a):
    return jnp.conj(jnp.swapaxes(a, -1, -2))


def series(fun):
    """The coefficients of a function of a number, one operation at a time."""
    with jax.disable_jit():
        return taylor_coefficients(fun, T, jnp.ones(()), ORDER)


def product(*factors):
    """Multiply series of matrices."""
    result, *others = [np.asarray(f) for f in factors]
    for f in others:
        result = np.stack([sum(result[j] @ f[k - j] for j in range(k + 1)) for k in range(len(f))])
    return result


def conjugated(c):
    return np.conj(np.swapaxes(np.asarray(c), -1, -2))


def diagonal(s):
    s = np.asarray(s)
    return s[..., None] * np.eye(s.shape[-1])


def identity_like(c):
    c = np.asarray(c)
    return np.stack([np.broadcast_to(np.eye(c.shape[-1]), c[0].shape)] + [np.zeros(c[0].shape)] * (len(c) - 1))


KINDS = {
    "real": path((4, 4)),
    "batch": path((2, 4, 4)),
    "complex": path((4, 4), COMPLEX),
}
THIN = {"tall": path((5, 3)), "wide": path((3, 5)), "complex tall": path((5, 3), COMPLEX)}


@pytest.mark.parametrize("kind", one_in(3, KINDS, 1))
def test_solve_and_inverse(kind):
    curve = KINDS[kind]
    right = jnp.asarray(B, curve(T).dtype)

    def solved(t):
        a = curve(t)
        b = jnp.broadcast_to(right * jnp.cos(t).astype(a.dtype), (*a.shape[:-1], 2))
        return a, b, jnp.linalg.solve(a, b), jnp.linalg.inv(a)

    a, b, x, inverse = series(solved)
    assert_parity(product(a, x), b)
    assert_parity(product(a, inverse), identity_like(a))


@pytest.mark.parametrize(
    ("left", "lower", "adjoint"), covering([True, False], [True, False], [(True, True), (True, False), (False, True)])
)
def test_triangular_solve(left, lower, adjoint):
    transposed, conjugated = adjoint
    curve, unit = path((4, 4), COMPLEX), lower != transposed

    def solved(t):
        a = curve(t)
        b = jnp.asarray(B if left else B.T, a.dtype) * jnp.exp(t).astype(a.dtype)
        options = {"left_side": left, "lower": lower, "transpose_a": transposed, "conjugate_a": conjugated}
        x = lax.linalg.triangular_solve(a, b, unit_diagonal=unit, **options)
        triangle = jnp.tril(a, -unit) if lower else jnp.triu(a, unit)
        triangle = triangle + float(unit) * jnp.eye(4, dtype=a.dtype)
        triangle = triangle.T if transposed else triangle
        return jnp.conj(triangle) if conjugated else triangle, b, x

    a, b, x = series(solved)
    assert_parity(product(a, x) if left else product(x, a), b)


@pytest.mark.parametrize("kind", one_in(3, KINDS))
def test_cholesky(kind):
    a, factor = series(lambda t: (hermitian(KINDS[kind])(t), jnp.linalg.cholesky(hermitian(KINDS[kind])(t))))
    assert_parity(product(factor, conjugated(factor)), a)
    assert not np.triu(factor, 1).any()


@pytest.mark.parametrize("kind", one_in(3, KINDS | THIN, 2))
def test_qr(kind):
    curve = (KINDS | THIN)[kind]
    a, (q, r) = series(lambda t: (curve(t), tuple(jnp.linalg.qr(curve(t)))))
    assert_parity(product(q, r), a)
    assert_parity(product(conjugated(q), q), identity_like(product(conjugated(q), q)))
    assert not np.tril(r, -1).any()
    assert np.abs(np.imag(np.diagonal(r, axis1=-2, axis2=-1))[1:]).max() < 1e-12


def test_qr_with_pivots():
    curve = path((5, 3))
    a, (q, r, p) = series(lambda t: (curve(t), jsc.linalg.qr(curve(t), mode="economic", pivoting=True)))
    assert_parity(product(q, r), np.asarray(a)[..., np.asarray(p)[0]])


@pytest.mark.parametrize("kind", one_in(3, KINDS | THIN))
def test_lu(kind):
    curve = (KINDS | THIN)[kind]
    a, (lu, _, permutation) = series(lambda t: (curve(t), lax.linalg.lu(curve(t))))
    lu, smaller = np.asarray(lu), min(lu.shape[-2:])
    lower = np.tril(lu, -1)[..., :smaller]
    lower[0] = lower[0] + np.eye(*lower.shape[-2:])
    permuted = np.take_along_axis(np.asarray(a), np.asarray(permutation)[:1, ..., None], axis=-2)
    assert_parity(product(lower, np.triu(lu)[..., :smaller, :]), permuted)


@pytest.mark.parametrize("kind", one_in(3, KINDS, 2))
def test_eigh(kind):
    a, (w, v) = series(lambda t: (hermitian(KINDS[kind])(t), tuple(jnp.linalg.eigh(hermitian(KINDS[kind])(t)))))
    assert_parity(product(a, v), product(v, diagonal(w)))
    assert_parity(product(conjugated(v), v), identity_like(v))
    # no vector turns its phase along the way
    slopes = np.stack([k * c for k, c in enumerate(np.asarray(v))][1:])
    turning = np.diagonal(product(conjugated(v)[:-1], slopes), axis1=-2, axis2=-1)
    assert np.abs(turning).max() < 1e-9 * np.abs(slopes).max()


@pytest.mark.parametrize("kind", one_in(3, KINDS | THIN, 1))
def test_svd(kind):
    curve = (KINDS | THIN)[kind]

    def factors(t):
        a = curve(t)
        return a, tuple(jnp.linalg.svd(a, full_matrices=False)), jnp.linalg.svd(a, compute_uv=False)

    a, (u, s, vh), alone = series(factors)
    assert_parity(product(u, diagonal(s), vh), a)
    assert_parity(product(conjugated(u), u), identity_like(product(conjugated(u), u)))
    assert_parity(product(vh, conjugated(vh)), identity_like(product(vh, conjugated(vh))))
    assert_parity(alone, s)


def test_three_diagonals():
    v = jnp.arange(1.0, 6)

    def solved(t):
        below, middle, above = jnp.sin(v + t), 3 + jnp.cos(v * t), jnp.sin(v * t)
        b = jnp.stack([v, t * v], axis=1)
        full = jnp.diag(middle) + jnp.diag(below[1:], -1) + jnp.diag(above[:-1], 1)
        return full, b, lax.linalg.tridiagonal_solve(below, middle, above, b)

    a, b, x = series(solved)
    assert_parity(product(a, x), b)


def coefficients_of_det(first, slope):
    """Those of ``det(first + t slope)``, in fifty digits through the roots of unity."""
    n = len(first)
    points = np.exp(2j * np.pi * np.arange(n + 1) / (n + 1))
    return np.real(np.fft.fft([np.linalg.det(first + t * slope) for t in points])) / (n + 1)


def det_along(t, first, slope):
    return jnp.linalg.det(first + t * slope)


@pytest.mark.parametrize("size", [1, 2, 3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 9, 11))])
def test_det_at_every_rank(size):
    left, right, slope = np.random.default_rng(size).normal(size=(3, size, size))
    for rank in sorted({0, 1, size - 2, size - 1, size} & set(range(max(0, size - 8), size + 1))):
        first = left[:, :rank] @ right[:rank]
        want = coefficients_of_det(first, slope)[: ORDER + 1]
        with jax.disable_jit():
            got = taylor_coefficients(det_along, jnp.array(0.0), jnp.ones(()), ORDER, first, slope)
        np.testing.assert_allclose(got[: size + 1], want, atol=1e-11 * np.abs(coefficients_of_det(first, slope)).max())


@pytest.mark.slow
def test_det_beyond_the_minors_is_zero_or_not_known():
    slope = np.random.default_rng(10).normal(size=(10, 10))
    with jax.disable_jit():
        got = np.asarray(derivatives(lambda t: jnp.linalg.det(t * slope), jnp.array(0.0), 10))
    assert not got[:8].any()
    assert np.isnan(got[8:]).all()


@pytest.mark.slow
def test_slogdet_is_the_logarithm_of_det():
    for kind in ("real", "complex"):
        curve = KINDS[kind]
        sign, logarithm, det = series(lambda t, curve=curve: (*jnp.linalg.slogdet(curve(t)), jnp.linalg.det(curve(t))))
        whole = series(
            lambda t, curve=curve: (lambda s: s[0] * jnp.exp(s[1]).astype(s[0].dtype))(jnp.linalg.slogdet(curve(t)))
        )
        assert_parity(whole, det)
        assert np.isrealobj(logarithm)
        assert_parity(np.abs(sign[0]), 1.0)


def everything(x):
    """One number of each, of a point."""
    a = path((4, 4))(T).astype(x.dtype) + jnp.outer(x, jnp.sin(x)) + jnp.diag(x**2)
    spd = a @ a.T + jnp.eye(4, dtype=x.dtype)
    return jnp.stack(
        [
            jnp.sum(jnp.linalg.solve(a, x) ** 2),
            jnp.sum(jnp.cos(jnp.linalg.cholesky(spd))),
            jnp.linalg.slogdet(a)[1],
            jnp.linalg.det(a) / 100,
            jnp.sum(jnp.sin(jnp.linalg.qr(a)[1])),
            jnp.sum(jnp.linalg.eigh(spd)[1][0] ** 4),
            jnp.sum(jnp.sqrt(jnp.linalg.svd(a, compute_uv=False))),
            jnp.sum(jsc.linalg.solve_triangular(spd, x, lower=True)),
        ]
    )


X = jnp.array([0.3, 0.7, 1.1, 0.45])


def test_laplacian_is_the_trace_of_the_hessian():
    want = jnp.trace(jax.jit(jax.hessian(everything))(X), axis1=1, axis2=2)
    assert_parity(jax.jit(lambda x: laplacian(everything, x))(X), want)


@pytest.mark.slow
def test_reverse_mode_and_vmap():
    """In training a loss of derivatives is differentiated backwards, at singular matrices too."""

    def third(x):
        return taylor_coefficients(everything, x, jnp.ones(4), 2)[2]

    rows = jax.jit(jax.vmap(third))(jnp.stack([X, X + 0.1]))
    step = 1e-5
    direction = jnp.array([0.3, -1.0, 0.5, 0.2])
    jacobian = jax.jit(jax.jacrev(third))(X)
    along = jax.jit(jax.vmap(third))(jnp.stack([X, X + step * direction, X - step * direction]))
    assert_parity(rows[0], along[0])
    assert_parity(jacobian @ direction, (along[1] - along[2]) / (2 * step), tolerance=1e-7)


def test_the_gradient_of_a_singular_det_is_that_of_its_minors():
    slope = jnp.asarray(np.random.default_rng(4).normal(size=(4, 4)))
    first = jnp.outer(X, X + 1)

    def second(a):
        return derivatives(lambda t: jnp.linalg.det(a + t * slope), jnp.array(0.0), 2)[2]

    def by_minors(a):
        rows = [jnp.delete(a, jnp.array([i]), axis=1, assume_unique_indices=True)[1:] for i in range(4)]
        return sum((-1) ** i * a[0, i] * jnp.linalg.det(rows[i]) for i in range(4))

    def wanted(a):
        fun = lambda t: by_minors(a + t * slope)  # noqa: E731
        return jax.jvp(lambda t: jax.jvp(fun, (t,), (1.0,))[1], (0.0,), (1.0,))[1]

    if jax.__version__.startswith("0.10"):
        # there the det of three rows is a polynomial
        assert_parity(jax.jit(jax.grad(second))(first), jax.jit(jax.grad(wanted))(first))
    e = jnp.zeros((4, 4)).at[0, 1].set(1e-3)
    difference = (second(first + e) - second(first - e)) / 2e-3
    assert_parity(jax.jit(jax.grad(second))(first)[0, 1], difference, tolerance=1e-8)


def test_float32():
    got = taylor_coefficients(everything, X.astype(jnp.float32), jnp.ones(4, jnp.float32), 3)
    want = taylor_coefficients(everything, X, jnp.ones(4), 3)
    assert got.dtype == jnp.float32
    assert np.abs(np.asarray(got) - np.asarray(want)).max() < 1e-3 * np.abs(np.asarray(want)).max()


def own_det(a):
    return a[0, 0] * 2


_det = jax.custom_jvp(own_det)
_det.__name__ = "_det"
_det.defjvps(lambda t, ans, a: 7 * t[0, 0])


def test_a_function_of_the_same_name_keeps_its_own_rule():
    assert derivatives(lambda t: _det(t * jnp.eye(4)), jnp.array(1.0), 1).tolist() == [2.0, 7.0]


def size_of(jaxpr):
    """Count all equations."""
    return sum(1 + sum(size_of(getattr(s, "jaxpr", s)) for s in core.jaxprs_in_params(e.params)) for e in jaxpr.eqns)


A, SLOPE, ONES = jnp.asarray(np.eye(4) * 2 + 0.1), jnp.asarray(RNG.normal(size=(4, 4))), jnp.asarray(np.ones(4))


def symmetric(t):
    return A + t * (SLOPE + SLOPE.T)


GROWING = {
    "solve_triangular": lambda t: jsc.linalg.solve_triangular(A + t * SLOPE, ONES, lower=True),
    "cholesky": lambda t: jnp.linalg.cholesky(symmetric(t)),
    "qr": lambda t: jnp.linalg.qr(A + t * SLOPE)[1],
    "solve": lambda t: jnp.linalg.solve(A + t * SLOPE, ONES),
    "inv": lambda t: jnp.linalg.inv(A + t * SLOPE),
    "slogdet": lambda t: jnp.linalg.slogdet(A + t * SLOPE)[1],
    "det": lambda t: jnp.linalg.det(jnp.exp(A + t * SLOPE)),
    "eigh": lambda t: jnp.linalg.eigh(symmetric(t))[1],
    "svd": lambda t: jnp.linalg.svd(A + t * SLOPE)[0],
    "lu": lambda t: jsc.linalg.lu(A + t * SLOPE)[2],
    "cho_solve": lambda t: jsc.linalg.cho_solve(jsc.linalg.cho_factor(symmetric(t)), ONES),
    "expm": lambda t: jsc.linalg.expm(t * SLOPE),
    "lstsq": lambda t: jnp.linalg.lstsq((A + t * SLOPE)[:, :2], ONES)[0],
    "i0e": jsc.special.i0e,
    "i1e": jsc.special.i1e,
    "i0": jsc.special.i0,
    "betaln": lambda x: jsc.special.betaln(x, 1.0),
    "betainc": lambda x: jsc.special.betainc(2.0, 3.0, x),
    "gammainc": lambda x: jsc.special.gammainc(2.0, x),
    "gammaln": jsc.special.gammaln,
    "log_ndtr": jsc.special.log_ndtr,
}


@pytest.mark.parametrize("name", one_in(5, GROWING))
def test_the_trace_grows_at_most_quadratically(name):
    counts = [size_of(jax.make_jaxpr(lambda t, n=n: derivatives(GROWING[name], t, n))(T).jaxpr) for n in (3, 6, 12)]
    assert counts[1] <= 4 * counts[0], counts
    assert counts[2] <= 4 * counts[1], counts

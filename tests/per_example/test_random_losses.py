"""Random losses in every mode against ``vmap(grad)`` in float64, and each known fault planted back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import per_example
from jaxgrad._uses import _algebra, _gradient_factors, _norms, _plan, _rules
from jaxgrad._uses._factors import Factors, OneHot
from jaxgrad.per_example._random_projection import direction
from tests.per_example import losses
from tests.per_example.losses import draw
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

DEPTH = 40
"""How many roundings of one unit add up: a piece is a chain of ten operations with sums of a dozen terms."""

MODES = ("auto", "book-keeping", "ghost", "vmap")
OTHERS = ("per_leaf", "moments", "gram", "weighted_sum", "random_projection", "fisher", "noise_scale", "gradients")


@pytest.fixture(autouse=True)
def _loose_promotion():
    # the losses mix dtypes, as users do
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def flat(tree, axes=0):
    """Return the leaves side by side in float64, below a number of leading axes."""
    leaves = [np.asarray(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], axis=axes)


def in_float64(tree):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def reference(case):
    """Return the gradients of all examples as rows, and the losses' inputs, with nothing rounded below float64."""
    gradients = jax.jit(jax.vmap(jax.grad(case.exact), (None, 0, 0, 0)))
    return flat(gradients(in_float64(case.params), *in_float64(case.batch)), 1)


def close(got, want, unit, case, what):
    """Fail where two arrays differ by more than the rounding of a chain of operations, in units of ``unit``."""
    error = np.max(np.abs(np.asarray(got, np.float64) - want) / unit, initial=0.0)
    assert error <= DEPTH * case.eps, f"{what}: {error:.3e} > {DEPTH * case.eps:.3e} in {case.name}"


def programs(case, limit, which, weights, key):
    """Return everything that is compared, as one program."""
    loss, options = case.loss, {"clip_norm": limit}
    vector = jax.tree.map(jnp.ones_like, case.params)
    calls = {
        "per_leaf": lambda p, b: per_example.norms(loss, p, *b, per_leaf=True),
        "moments": lambda p, b: per_example.moments(loss, p, *b),
        "gram": lambda p, b: per_example.gram(loss, p, *b),
        "weighted_sum": lambda p, b: per_example.weighted_sum(loss, p, *b, weights=weights),
        "random_projection": lambda p, b: per_example.random_projection(loss, p, *b, key=key, dim=2),
        "fisher": lambda p, b: per_example.empirical_fisher_product(loss, p, vector, *b),
        "noise_scale": lambda p, b: per_example.noise_scale(loss, p, *b) if len(b[0]) > 1 else (),
        "gradients": lambda p, b: per_example.gradients(loss, p, *b),
    }

    @jax.jit
    def run(p, b):
        first = jax.tree.map(lambda x: x[:1], b)
        sums = {mode: per_example.clipped_sum(loss, p, *b, mode=mode, **options) for mode in which[1]}
        single = {mode: per_example.clipped_sum(loss, p, *first, mode=mode, **options) for mode in which[2]}
        return sums, single, {name: calls[name](p, b) for name in which[0]}

    return run(case.params, case.batch)


def check(case, others=(), modes=("auto",), alone=("auto",)):
    """Compare a case in some modes, one clipped example alone, and some of the other functions."""
    rows = reference(case)
    lengths = np.linalg.norm(rows, axis=1)
    assert np.all(np.isfinite(rows)), case.name
    limit = float(0.37 * lengths[0]) if lengths[0] else 1.0
    weights, key = jnp.linspace(-1.0, 2.0, len(rows), dtype=jnp.float32), jax.random.key(1)
    sums, single, rest = programs(case, limit, (others, modes, alone), weights, key)
    scales = np.minimum(1.0, limit / np.where(lengths > limit, lengths, limit))
    whole = scales @ rows
    for mode, (total, info) in sums.items():
        close(info.norms, lengths, lengths, case, f"norms, {mode}")
        close(flat(total), whole, len(rows) * lengths.max(), case, f"clipped_sum, {mode}")
    for mode, (total, info) in single.items():
        keeps_its_limit(total, float(info.norms[0]), limit, case, mode)
    for name in others:
        COMPARE[name](case, rest[name], rows, np.asarray(weights, np.float64), key)


def keeps_its_limit(total, norm, limit, case, mode):
    """Check one clipped example: as long as the limit, or as its gradient, to the rounding of the result."""
    units = [float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(total) if leaf.size]
    want = min(norm, limit)
    tolerance = max(units) + 64 * 2.0**-23 * (max(units) > 1e-10) + 64 * 2.0**-52
    if case.eps > 2.0**-23 or max(units) < 2.0**-23 < 1.5 * case.eps:
        # a backward pass that is narrower than the result must not round its gradient a second time
        tolerance = max(tolerance, 64 * 2.0**-23)
    # entries of 16-bit results below the smallest normal number are rounded by a fixed amount
    floor = sum(leaf.size**0.5 * float(jnp.finfo(leaf.dtype).smallest_subnormal) for leaf in jax.tree.leaves(total))
    error = abs(np.linalg.norm(flat(total)) - want)
    assert error <= tolerance * want + floor, f"{mode}: {error / want:.3e} beyond {tolerance:.1e} in {case.name}"


def compare_per_leaf(case, got, rows, *_):
    parts = np.split(rows, np.cumsum([leaf.size for leaf in jax.tree.leaves(case.params)])[:-1], axis=1)
    want = np.stack([np.linalg.norm(part, axis=1) for part in parts])
    close(np.stack(jax.tree.leaves(got)), want, np.linalg.norm(rows, axis=1), case, "norms of leaves")


def compare_moments(case, got, rows, *_):
    unit = np.abs(rows).max()
    close(flat(got.mean), rows.mean(0), unit, case, "mean")
    if case.ordinary:
        close(flat(got.second_moment), (rows**2).mean(0), 2 * unit**2, case, "second moment")
        close(flat(got.variance), rows.var(0), 4 * unit**2, case, "variance")


def compare_gram(case, got, rows, *_):
    if case.ordinary:
        close(got, rows @ rows.T, 2 * np.linalg.norm(rows, axis=1).max() ** 2, case, "gram")


def compare_weighted_sum(case, got, rows, weights, _):
    close(flat(got), weights @ rows, 2 * len(rows) * np.linalg.norm(rows, axis=1).max(), case, "weighted sum")


def compare_random_projection(case, got, rows, _, key):
    signs = np.stack([flat(direction(k, case.params)) for k in jax.random.split(key, 2)])
    if not case.promised:
        close(got, rows @ signs.T / np.sqrt(2), np.abs(rows).sum(1).max(), case, "projections")


def compare_fisher(case, got, rows, *_):
    if case.ordinary and not case.promised:
        want = rows.T @ rows.sum(1) / len(rows)
        close(flat(got), want, 2 * np.abs(rows).sum(1).max() * np.abs(rows).max(), case, "Fisher product")


def compare_noise_scale(case, got, rows, *_):
    if len(rows) > 1 and case.ordinary:
        close(got.trace, rows.var(0, ddof=1).sum(), 8 * (rows**2).sum(1).max(), case, "trace of the covariance")


def compare_gradients(case, got, rows, *_):
    close(flat(got, 1), rows, np.linalg.norm(rows, axis=1).max(), case, "gradients")


COMPARE = {name: globals()[f"compare_{name}"] for name in OTHERS}


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] if seed > 3 else []) for seed in range(60)]
)
def test_a_random_loss(seed):
    # the whole comparison is made slow: here each case makes a part of it
    alone, others = ((MODES[seed % 4],), ()) if seed % 2 else ((), (OTHERS[seed // 2 % len(OTHERS)],))
    check(draw(seed), others, (MODES[(seed + 1) % 4],), alone)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 600))
def test_five_hundred_random_losses(seed):
    check(draw(seed), (OTHERS[seed % len(OTHERS)],), MODES, MODES)


def as_indices(left, right):
    """The fault: whatever is whole is taken for the indices of one-hot rows."""
    if not isinstance(left, OneHot) and not jnp.issubdtype(left.dtype, jnp.inexact):
        left = OneHot(jnp.clip(left[..., 0], 0, 3).astype(jnp.int32))
    return real_pair(left, right)


def without_imaginary_parts(left, right):
    return (left if isinstance(left, OneHot) else jnp.real(left)), jnp.real(right)


def clipped_in_their_own_dtype(site, index, operand, cotangent):
    ids, right = gather(site, index, operand, cotangent)
    rows = jnp.asarray(site.eqn.invars[0].aval.shape[0]).astype(operand.dtype)
    return ids, jnp.where((operand.reshape(1, -1) < rows)[..., None], right, 0)


def never_dropped(site, index, operand, cotangent):
    ids = OneHot(jnp.clip(operand.reshape(1, -1), 0, 99).astype(jnp.int32))
    return ids, gather(site, index, jnp.zeros_like(operand), cotangent)[1]


def rounded_scales(x, scales, *, scaled=True):
    return cut_rows(x, scales.astype(jnp.bfloat16).astype(scales.dtype), scaled=scaled)


def narrowest(uses, leaf):
    del leaf
    dense = [x.dtype for use in uses for x in use if not isinstance(x, OneHot)]
    dtype = min((d for d in dense if jnp.issubdtype(d, jnp.floating)), key=lambda d: d.itemsize)
    return [Factors(*(x if isinstance(x, OneHot) else x.astype(dtype) for x in use)) for use in uses]


real_pair, gather, cut_rows = _rules.real_pair, _rules._gather, _algebra.cut_rows
SINGLE = {"weight": "float32", "data": "float32", "arithmetic": "float32", "bias": "float32", "table": "float32"}
DOUBLE = dict.fromkeys(SINGLE, "float64")
HALF = {**SINGLE, "arithmetic": "bfloat16"}
FAULTS = {
    "whole operands are one-hot": (_rules, "real_pair", as_indices, "counted", DOUBLE | {"count": "int32"}),
    "boolean operands are one-hot": (_rules, "real_pair", as_indices, "counted", DOUBLE | {"count": "bool"}),
    "indices are compared in their own dtype": (
        _rules,
        "_gather",
        clipped_in_their_own_dtype,
        "gather_fill",
        DOUBLE | {"index": "uint8"},
    ),
    "no index is dropped": (_rules, "_gather", never_dropped, "gather_fill", DOUBLE | {"index": "int32"}),
    "imaginary parts are left out": (_rules, "real_pair", without_imaginary_parts, "spectrum", SINGLE),
    "scales are rounded to 16 bits": (_algebra, "cut_rows", rounded_scales, "dense", SINGLE | {"size": 1.0}),
    "the narrower dtype decides": (
        _gradient_factors,
        "in_one_dtype",
        narrowest,
        "vector",
        DOUBLE | {"data": "float32", "size": 1.0},
    ),
    "squares that overflow": (_norms, "_some", lambda doubt: jnp.zeros((), bool), "dense", SINGLE | {"size": 5e18}),
    "squares that underflow": (_norms, "_some", lambda doubt: jnp.zeros((), bool), "dense", SINGLE | {"size": 2e-23}),
    "sums are as narrow as their terms": (_algebra, "wide", lambda dtype: dtype, "dense", HALF | {"size": 1.0}),
    "scaled cotangents are rounded": (_plan.Plan, "rounds", False, "dense", HALF | {"size": 1.0}),
}


@pytest.mark.parametrize("fault", one_in(4, FAULTS))
def test_a_planted_fault_is_caught(monkeypatch, fault):
    owner, name, planted, piece, fixed = FAULTS[fault]
    pieces = [p for p in losses.PIECES if p.__name__ == piece]
    case = draw(0, pieces=pieces, **{"size": 1.0, "batch": 4, **fixed})
    alone = ("ghost",) if name == "rounds" else ("auto",)
    check(case, alone=alone)
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises(AssertionError, match=" in "):
        check(draw(0, pieces=pieces, **{"size": 1.0, "batch": 4, **fixed}), alone=alone)

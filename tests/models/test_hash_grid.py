"""The hash grid: its cells, its entries, and every derivative of a field through it."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.models import _hash_grid, from_linen, linen
from jaxgrad.models._hash_grid import RADIUS, encode, make_grid
from tests.bridge import assert_parity
from tests.turns import one_in

pytestmark = pytest.mark.either_lane

GRIDS = {
    # of the first an entry a vertex, of the others entries that are shared
    1: make_grid(1, levels=3, table_size=64, coarsest=2, finest=300),
    2: make_grid(2, levels=3, table_size=64, coarsest=3, finest=20),
    3: make_grid(3, levels=3, table_size=512, coarsest=3, finest=12),
}
each = pytest.mark.parametrize("d", GRIDS)
SHARED = 2654435761, 805459861


def entries(grid, features=2):
    return np.random.default_rng(0).normal(size=(grid.size, features))


def by_hand(points, table, grid):
    """The encoding in NumPy, point by point, level by level, corner by corner, in Python's whole numbers."""
    out = []
    for point in points:
        features = []
        for level, cells in enumerate(grid.cells):
            place = [(x + RADIUS) * cells + 0.5 for x in point]
            low = [math.floor(p) for p in place]
            total = np.zeros(table.shape[1])
            for corner in itertools.product((0, 1), repeat=len(point)):
                vertex = [a + b for a, b in zip(low, corner, strict=True)]
                n = grid.vertices[level]
                assert all(0 <= v < n for v in vertex)
                if grid.hashed[level]:
                    mixed = [(v * p) % 2**32 for v, p in zip(vertex, (1, *SHARED), strict=False)]
                    row = functools.reduce(int.__xor__, mixed) % grid.rows[level]
                else:
                    row = sum(v * n**k for k, v in enumerate(vertex))
                assert 0 <= row < grid.rows[level]
                share = [p - a for p, a in zip(place, low, strict=True)]
                share = [
                    3 * t**2 - 2 * t**3 if b else 1 - 3 * t**2 + 2 * t**3 for t, b in zip(share, corner, strict=True)
                ]
                total += math.prod(share) * table[grid.starts[level] + row]
            features.append(total)
        out.append(np.concatenate(features))
    return np.array(out)


def some_points(d, count=40):
    """Points of the whole grid, its ends and corners, the middle, and vertices among them."""
    rng = np.random.default_rng(1)
    ends = np.array(list(itertools.product((-RADIUS, -1.0, 0.0, 1.0, RADIUS), repeat=d)))
    return np.concatenate([rng.uniform(-RADIUS, RADIUS, (count, d)), ends])


@each
def test_is_what_numpy_gives_by_hand(d):
    grid, points = GRIDS[d], some_points(d)
    assert grid.hashed == (False, d > 1, True)
    got = jax.jit(lambda p, e: encode(p, e, grid))(points, entries(grid))
    assert_parity(got, by_hand(points, entries(grid), grid), tolerance=1e-13)


@each
def test_no_row_lies_beyond_its_table(d):
    grid = GRIDS[d]
    # every vertex, and so that of a point which float32 rounds into the last cell, too
    for level, n in enumerate(grid.vertices):
        corners = np.array(list(itertools.product(range(n), repeat=d)), np.uint32)
        vertex = np.broadcast_to(corners[:, None, None, :], (len(corners), len(grid.rows), 1, d))
        rows = np.asarray(_hash_grid._rows(jnp.asarray(vertex), grid))[:, level, 0] - grid.starts[level]
        assert rows.min() >= 0
        assert rows.max() < grid.rows[level]
        counts = np.bincount(rows, minlength=grid.rows[level])
        # own entries are used once each; shared ones evenly
        spread = counts.max() - counts.min()
        assert spread == 0 if not grid.hashed[level] else spread <= 4 + 3 * np.mean(counts) ** 0.5
    assert grid.starts == (0, grid.rows[0], grid.rows[0] + grid.rows[1])


@each
def test_the_ends_belong_to_the_grid_and_nothing_beyond_has_a_slope(d):
    grid = GRIDS[d]
    field = jax.jit(lambda p: encode(p, jnp.asarray(entries(grid)), grid))
    slope = jax.jit(jax.jacfwd(field))
    for end in (-RADIUS, RADIUS):
        at, near = np.full(d, end), np.full(d, end * (1 - 1e-9))
        np.testing.assert_allclose(field(at), field(near), atol=1e-6)
        np.testing.assert_allclose(slope(at), slope(near), atol=1e-3)
        np.testing.assert_array_equal(field(np.full(d, 3 * end)), field(at))
        assert not slope(np.full(d, 3 * end)).any()
    # at the lower end every level is in the middle of a cell, where a smooth step is steepest
    assert np.abs(slope(np.full(d, -RADIUS))).reshape(len(grid.rows), -1).max(1).min() > 0.1
    np.testing.assert_allclose(slope(np.ones(d)), slope(np.ones(d) - 1e-9), atol=1e-3)
    assert np.abs(slope(np.ones(d))).max() > 0.1
    # in float32, where the end may be rounded into the next cell
    small = encode(jnp.full((1, d), RADIUS, jnp.float32), jnp.asarray(entries(grid), jnp.float32), grid)
    np.testing.assert_allclose(small[0], field(np.full(d, RADIUS)), atol=1e-4)


@each
def test_no_cell_equals_its_mirror_image(d):
    grid = GRIDS[d]
    points = np.random.default_rng(3).uniform(0.2, 1, (50, d))
    field = jax.jit(lambda p: encode(p, jnp.asarray(entries(grid)), grid))
    for signs in itertools.product((-1, 1), repeat=d):
        if -1 in signs:
            apart = np.abs(np.asarray(field(points)) - np.asarray(field(points * np.array(signs))))
            # truncation instead of floor, or a hash of sizes, would make two of them one
            assert apart.max(1).min() > 1e-2
    # nor is a cell next to the middle its neighbour's copy
    assert np.abs(np.asarray(field(np.full((1, d), 1e-5))) - field(np.full((1, d), -1e-5))).max() < 0.01


@pytest.mark.parametrize("d", one_in(2, [2, 3], 1))
def test_shared_entries_add_up_in_the_gradient(d):
    grid, points = GRIDS[d], some_points(d)
    weight = np.random.default_rng(4).normal(size=(len(points), 2 * len(grid.rows)))

    def total(table):
        return jnp.sum(weight * encode(points, table, grid))

    got = jax.jit(jax.grad(total))(entries(grid))
    # the encoding is linear in the entries: what one of them gives is the encoding of a table of zeros but for it
    every = [by_hand(points, np.eye(grid.size)[:, [row]], grid) for row in (0, grid.starts[1], grid.starts[2] + 3)]
    for row, features in zip((0, grid.starts[1], grid.starts[2] + 3), every, strict=True):
        want = [np.sum(weight[:, f::2] * features) for f in range(2)]
        np.testing.assert_allclose(got[row], want, rtol=1e-10, atol=1e-12)
    users = np.sum(every[1] != 0)
    assert users > 1


@pytest.mark.parametrize("d", one_in(2, [2, 3]))
def test_derivatives_through_network_and_grid_are_those_of_differences(d):
    network = linen.HashGrid(
        (d, 5, 2), levels=3, table_size=64, coarsest=2, finest=6, activation=jnp.tanh, param_dtype=jnp.float64
    )
    points = np.random.default_rng(5).uniform(-1, 1, (6, d))
    apply_fn, params = from_linen(network, jnp.asarray(points), key=jax.random.key(0))
    params["entries"] = jax.random.normal(jax.random.key(1), params["entries"].shape)
    field = functools.partial(apply_fn, params)
    # stay away from the faces of cells, across which differences would reach; a step is 2e-4
    grid = make_grid(d, 3, 64, 2, 6)
    place = (points[:, None] + RADIUS) * np.array(grid.cells)[:, None] + 0.5
    assert np.abs(place - np.round(place)).min() > 1e-3

    first, second, third = jax.jacfwd(field), jax.jacfwd(jax.jacfwd(field)), jax.jacfwd(jax.jacfwd(jax.jacfwd(field)))
    derivatives = [field, first, second, third]
    step = 1e-4

    @jax.jit
    def compare(point):
        """Each derivative, and the central difference of the one below it."""
        moved = [(point + step * axis, point - step * axis) for axis in np.eye(d)]
        return [
            (above(point), jnp.stack([(below(a) - below(b)) / (2 * step) for a, b in moved], -1))
            for below, above in itertools.pairwise(derivatives)
        ]

    for order, (exact, difference) in enumerate(jax.lax.map(compare, jnp.asarray(points)), 1):
        size = np.abs(exact).max()
        assert size > 0.1, f"order {order} vanishes"
        np.testing.assert_allclose(difference, exact, atol=1e-6 * size * 10 ** (order - 1))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((4, 2, 64, 2, 4), "1, 2 or 3 coordinates; sizes starts with 4"),
        ((2, 0, 64, 2, 4), "levels=0"),
        ((2, 2, 100, 2, 4), "a power of two, 64 at the least; got 100"),
        ((2, 2, 16, 2, 4), "a power of two, 64 at the least; got 16"),
        ((2, 2, 64, 8, 4), "finest at least coarsest; got .*coarsest=8, finest=4"),
    ],
)
def test_what_makes_no_grid_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_grid(*options)


def test_no_multiplier_of_the_hash_is_anothers_mirror_image():
    for size in (2**k for k in range(6, 25)):
        both = {m % size for p in _hash_grid.PRIMES for m in (p, -p)}
        assert len(both) == 6


def test_the_last_level_has_as_many_cells_as_it_says():
    assert [make_grid(2, levels, 64, 16, 512).cells[-1] for levels in range(2, 20)] == [256.0] * 18

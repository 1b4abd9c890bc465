"""`inr.sample_points`: inside of the domain, uniform over it, one a cell, SciPy's and torch's Sobol, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

import torch_ref.inr
from jaxgrad.inr import image_targets, sample_points
from tests.bridge import assert_parity

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
SHAPE = 3, 5
METHODS = ["grid", "jittered", "uniform", "quasi"]


def cells(points, shape=SHAPE):
    """Return the row and the column of the pixel that owns each point, and whether it lies within the edges."""
    x, y = np.asarray(points, np.float64).T
    column, row = ((c + 1) * (n - 1) / 2 + 0.5 for c, n in ((x, shape[1]), (y, shape[0])))
    inside = (column >= 0) & (column <= shape[1]) & (row >= 0) & (row <= shape[0])
    return np.floor(row).astype(int), np.floor(column).astype(int), inside


@pytest.mark.parametrize("method", METHODS)
def test_points_lie_within_the_edges_and_meet_every_pixel_alike(method):
    """Of 2,000 draws of 7 points over 15 pixels, the counts of pixels keep to a chi-squared of 14 (99.99%: 42.6)."""
    draw = jax.jit(jax.vmap(lambda key: sample_points(key, 7, method=method, shape=SHAPE)))
    points = np.asarray(draw(jax.random.split(KEY, 2000))).reshape(-1, 2)
    row, column, inside = cells(points)
    assert inside.all()
    counts = np.bincount(row * 5 + column, minlength=15)
    assert ((counts - 7 * 2000 / 15) ** 2).sum() / (7 * 2000 / 15) <= 42.6
    if method != "grid":
        for c, n in zip(points.T, SHAPE[::-1], strict=True):
            edge = n / (n - 1)
            assert kstest((c + edge) / (2 * edge), "uniform").statistic <= 0.02
        assert np.ptp(points[:, 0]) > 2.4  # of 2.5


def test_the_whole_grid_is_that_of_image_targets():
    points = sample_points(KEY, 15, method="grid", shape=SHAPE)
    assert_parity(points, image_targets(jnp.ones(SHAPE)).points)
    assert_parity(points, torch_ref.inr.sample_points(0, 15, method="grid", shape=SHAPE))


@pytest.mark.parametrize("count", [15, 9, 37])
def test_jittered_points_have_cells_of_their_own(count):
    row, column, inside = cells(sample_points(KEY, count, method="jittered", shape=SHAPE))
    counts = np.bincount(row * 5 + column, minlength=15)
    assert inside.all()
    assert set(counts) <= {count // 15, -(-count // 15)}
    row, column, _ = cells(torch_ref.inr.sample_points(0, count, method="jittered", shape=SHAPE).numpy())
    assert sorted(np.bincount(row * 5 + column, minlength=15)) == sorted(counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [15, 9])
def test_the_twin_draws_on_the_cpu_and_gives_points_on_torchs_device(method, count):
    """As a pretended one without numbers shows: what is drawn must be read to place a point."""
    import torch  # SciPy, which is imported above, takes the stand-in of a lane without torch for torch itself

    with torch.device("meta"):
        assert torch_ref.inr.sample_points(0, count, method=method, shape=SHAPE).device.type == "meta"


def test_a_part_of_a_grid_has_no_pixel_twice():
    points = np.asarray(sample_points(KEY, 11, method="grid", shape=SHAPE))
    assert len(np.unique(points, axis=0)) == 11
    other = np.asarray(sample_points(jax.random.key(1), 11, method="grid", shape=SHAPE))
    assert not np.array_equal(points, other)


def test_quasi_random_points_are_sobols_moved_by_one_draw():
    """Torch's Sobol numbers, made by other code, moved by another draw: the two differ by one move, modulo 1."""
    ours = np.asarray(sample_points(KEY, 13, method="quasi", shape=SHAPE), np.float64)
    theirs = torch_ref.inr.sample_points(0, 13, method="quasi", shape=SHAPE).numpy()
    widths = 2 * np.array([5 / 4, 3 / 2])
    moves = (ours - theirs) / widths % 1
    around = np.abs((moves - moves[:1] + 0.5) % 1 - 0.5)
    assert around.max() <= 1e-12
    assert np.ptp(ours, axis=0).min() > 2


def test_sounds_and_volumes():
    assert_parity(sample_points(KEY, 3, method="grid", shape=(3,)), np.array([[-1.0], [0.0], [1.0]]))
    volume = np.asarray(sample_points(KEY, 24, method="grid", shape=(2, 3, 4)))
    z, y, x = np.meshgrid(np.linspace(-1, 1, 2), np.linspace(-1, 1, 3), np.linspace(-1, 1, 4), indexing="ij")
    assert_parity(volume, np.stack([x, y, z], -1).reshape(-1, 3))


def test_the_dtype_is_kept():
    assert sample_points(KEY, 4, method="quasi", shape=SHAPE, dtype=jnp.float32).dtype == jnp.float32
    assert sample_points(KEY, 4, method="uniform", shape=SHAPE).dtype == jnp.float64


@pytest.mark.parametrize(
    ("count", "options", "error", "words"),
    [
        (0, {}, ValueError, "count must be at least 1; got 0"),
        (2.0, {}, TypeError, "count must be a Python integer"),
        (16, {"method": "grid"}, ValueError, "count must be from 1 to 15; got 16. A grid gives no pixel twice"),
        (4, {"method": "sobol"}, ValueError, "method must be one of 'grid', 'jittered', 'uniform', 'quasi'"),
        (4, {"shape": 5}, ValueError, r"shape must be a tuple of one to three lengths.*got 5"),
        (4, {"shape": (1, 5)}, ValueError, r"shape\[0\] must be at least 2; got 1"),
        (4, {"dtype": jnp.bfloat16}, TypeError, "dtype must be a floating-point dtype of 32 bits or more"),
        (4, {"dtype": int}, TypeError, "dtype must be a floating-point dtype of 32 bits or more"),
    ],
)
def test_refuses(count, options, error, words):
    with pytest.raises(error, match=words):
        sample_points(KEY, count, **{"method": "uniform", "shape": SHAPE} | options)


def test_a_traced_count_is_refused():
    with pytest.raises(TypeError, match="count must be known when the function is traced"):
        jax.jit(lambda n: sample_points(KEY, n, method="uniform", shape=SHAPE))(4)

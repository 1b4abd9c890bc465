"""The norm in which a Laplacian is fitted: that of the gradient of the field whose Laplacian the residual is."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import inr
from jaxgrad.fit._norms import weak_square
from jaxgrad.fit._settings import Settings
from jaxgrad.fit._targets import targets_of
from jaxgrad.fit._training import lattice_loss, lattice_rows

SIZE = (7, 10)


def picture() -> np.ndarray:
    """Return a picture of a few waves, ``(H, W, 1)``."""
    rows, columns = ((np.arange(n)[:, None] + 0.5) / n * np.pi for n in SIZE)
    waves = [(1, 2, 0.7), (3, 0, -0.4), (0, 4, 0.2)]
    return sum(a * np.cos(i * rows) * np.cos(j * columns).T for i, j, a in waves)[..., None]


def test_the_square_of_a_laplacian_is_the_mean_square_slope_of_its_field():
    """For a picture of a few waves, not square, whose spectral targets are exact."""
    targets = inr.image_targets(jnp.asarray(picture()), method="spectral", channels=1)
    found = weak_square(targets.laplacians.reshape(*SIZE, 1))
    # two slopes a channel: the square of the gradient is their sum
    np.testing.assert_allclose(found, 2 * np.mean(np.square(targets.gradients)), rtol=1e-12)


def test_a_constant_counts_for_nothing():
    """No even field has a Laplacian whose mean is not 0."""
    assert weak_square(jnp.full((*SIZE, 2), 3.0)) < 1e-28


def test_the_lattice_of_a_pool_is_one_of_the_finer_grids_points_and_its_targets():
    """The loss of a field that is the picture's own is 0; that of zeros is the square of the targets there."""
    image = picture()
    pool = targets_of(image, Settings("laplacian", "spline", size=SIZE))

    def exact(scale, points):
        return scale * inr.targets_at(jnp.asarray(image, jnp.float32), points, channels=1).values

    def loss(scale, key):
        rows = lattice_rows(key, SIZE, len(pool.points))
        return lattice_loss(SIZE, exact, scale, jnp.asarray(pool.points)[rows], jnp.asarray(pool.wanted)[rows])

    for seed in (0, 3):
        key = jax.random.key(seed)
        zero, right = (loss(jnp.float32(scale), key) for scale in (0, 1))
        assert right < 1e-8 * zero
        # between the pixels the square is that at them, but for what a shifted lattice folds
        np.testing.assert_allclose(zero, 2 * np.mean(np.square(pool.pixels.gradients)), rtol=0.2)

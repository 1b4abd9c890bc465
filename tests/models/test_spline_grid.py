"""The grid of splines: even about its edges, partition of unity, and what makes no grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import inr
from jaxgrad.models._spline_grid import encode, make_levels

pytestmark = pytest.mark.either_lane

LEVELS = make_levels(2, 3, 2, 7, (1.1, 1.25))


def entries() -> jax.Array:
    """Draw the tables."""
    return jnp.asarray(np.random.default_rng(0).normal(size=(LEVELS.size, 2)))


def test_the_field_is_even_about_its_edges_to_the_second_derivative():
    """Its mirror image has the same features and slopes, and at an edge the slope across is exactly 0."""
    field = lambda table, p: encode(p, table, LEVELS)  # noqa: E731
    inside = np.random.default_rng(1).uniform(-1, 1, (6, 2))
    beyond = np.stack([2 * 1.1 - inside[:, 0], -2 * 1.25 - inside[:, 1]], -1)
    at, there = (inr.coordinate_derivatives(field, entries(), p, second="laplacian") for p in (inside, beyond))
    np.testing.assert_allclose(there.values, at.values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(there.jacobian, -at.jacobian, rtol=0, atol=1e-12)
    np.testing.assert_allclose(there.laplacian, at.laplacian, rtol=0, atol=1e-11)
    edge = np.array([[1.1, 0.3], [-1.1, -0.2]])
    slopes = inr.coordinate_derivatives(field, entries(), edge).jacobian
    assert jnp.abs(slopes[..., 0]).max() < 1e-13
    assert jnp.abs(slopes[..., 1]).min() > 1e-3


def test_a_table_of_ones_is_the_constant_field_and_a_cosine_is_met_to_fourth_order():
    """B-splines add up to 1; on values of a cosine they give it back up to its fourth derivative's share."""
    points = np.random.default_rng(2).uniform(-1, 1, (9, 1))
    errors = []
    for n in (16, 32):
        grid = make_levels(1, 1, n, n, 1.0)
        np.testing.assert_allclose(encode(points, jnp.ones((n + 1, 1)), grid), 1, atol=1e-14)
        wave = np.cos(np.pi * np.linspace(0, 1, n + 1))
        # the coefficients of the wave: a B-spline smooths it by (2 + cos(pi / n)) / 3
        found = encode(points, jnp.asarray(wave[:, None] * 3 / (2 + np.cos(np.pi / n))), grid)
        errors.append(np.abs(np.asarray(found)[:, 0] - np.cos(np.pi * (points[:, 0] + 1) / 2)).max())
    assert errors[1] < errors[0] / 12


def test_the_shortest_waves_of_a_picture_take_two_cells_a_pixel():
    """What the best splines leave of the last of eight cosines, between the pixels too."""
    pixels = 8
    places = np.linspace(0, 1, 65)[:, None]
    wave = np.cos((pixels - 1) * np.pi * places[:, 0])
    left = []
    for cells in (pixels, 2 * pixels):
        basis = np.asarray(encode(2 * places - 1, jnp.eye(cells + 1), make_levels(1, 1, cells, cells, 1.0)))
        left.append(np.linalg.norm(wave - basis @ np.linalg.lstsq(basis, wave)[0]) / np.linalg.norm(wave))
    assert left[0] > 0.3
    assert left[1] < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 1, 2, 3, 1.0), "1, 2 or 3 coordinates"),
        ((2, 0, 2, 3, 1.0), "levels and coarsest must be at least 1"),
        ((2, 1, 5, 3, 1.0), "finest at least coarsest"),
        ((2, 1, 2, 3, (1.0,)), "edge must be a positive number, or 2 of them"),
        ((2, 1, 2, 3, -1.0), "edge must be a positive number"),
    ],
)
def test_what_makes_no_grid_is_refused(arguments, message):
    """With a sentence that says what does."""
    with pytest.raises(ValueError, match=message):
        make_levels(*arguments)

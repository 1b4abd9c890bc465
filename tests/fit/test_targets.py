"""What a fit draws from: pools over the whole picture, edges where the even field has no slope, ceilings."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import inr
from jaxgrad.fit._settings import FACTOR, Settings
from jaxgrad.fit._targets import edges_of, targets_of

VALUES = np.random.default_rng(0).uniform(size=(6, 9, 2))


@pytest.mark.parametrize("method", ["spectral", "spline"])
def test_the_edges_are_where_the_even_field_has_no_slope_across(method):
    points, normals = edges_of((6, 9))
    assert len(points) == 2 * FACTOR * (6 + 9)
    np.testing.assert_allclose(np.abs(points).max(0), [9 / 8, 6 / 5])
    slopes = np.asarray(inr.targets_at(jnp.asarray(VALUES), jnp.asarray(points), method=method).gradients)
    across = np.sum(slopes * normals[:, None], -1)
    along = np.sum(slopes * (1 - normals)[:, None], -1)
    assert np.abs(across).max() < 1e-10 * np.abs(along).max()
    assert np.abs(along).max() > 1


@pytest.mark.parametrize(("method", "count"), [("spectral", 54 * FACTOR**2), ("central", 54)])
def test_the_pool_and_the_ceiling_are_those_of_the_method(method, count):
    found = targets_of(VALUES, Settings("gradient", targets=method, size=(6, 9)))
    assert found.points.shape == (count, 2)
    assert found.wanted.shape == (count, 2, 2)
    assert (found.ceiling > 120) == (method == "spectral")
    by_value = targets_of(VALUES, Settings("value", targets=method, size=(6, 9)))
    assert by_value.ceiling == np.inf
    np.testing.assert_array_equal(by_value.wanted, found.values)
    np.testing.assert_allclose(by_value.wanted.mean(0), VALUES.mean((0, 1)), atol=1e-6)

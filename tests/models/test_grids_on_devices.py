"""Grids of tables on four devices, whose axes are those that `jax.make_mesh` makes: Explicit, and the mesh not set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxgrad import inr
from jaxgrad.models import _hash_grid, _spline_grid
from tests.bridge import assert_parity

HASH = _hash_grid.make_grid(2, levels=2, table_size=64, coarsest=2, finest=9)
# 4 and 16 entries: as many on each device
SPLINES = _spline_grid.make_levels(2, 2, 1, 3, 1.1)


def hash_field(entries, points):
    return _hash_grid.encode(points, entries, HASH)


def spline_field(entries, points):
    return _spline_grid.encode(points, entries, SPLINES)


@jax.jit
def everything(entries, points):
    """Return a value's, a slope's and a Laplacian's derivatives: by the coordinates, and by the entries."""

    def loss(entries):
        found = inr.coordinate_derivatives(FIELDS[len(entries)], entries, points, second="laplacian")
        return sum(jnp.mean(part**2) for part in found if part is not None), found

    return jax.grad(loss, has_aux=True)(entries)


FIELDS = {HASH.size: hash_field, SPLINES.size: spline_field}


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("size", FIELDS, ids=["hash", "spline"])
def test_points_and_tables_lie_on_several_devices(size):
    """Points along their first or their second axis, and the entries in parts: the numbers of one device."""
    rng = np.random.default_rng(0)
    entries, points = rng.normal(size=(size, 2)), rng.uniform(-1, 1, (4, 8, 2))
    wanted = everything(entries, points)
    mesh = jax.make_mesh((4,), ("d",))
    assert size % 4 == 0
    for of_entries, of_points in ((None, ("d",)), (None, (None, "d")), (("d",), ()), (("d",), ("d",))):
        laid = [
            jax.device_put(array, NamedSharding(mesh, PartitionSpec(*(spec or ()))))
            for array, spec in ((entries, of_entries), (points, of_points))
        ]
        found = everything(*laid)
        assert_parity(found, wanted)
        if of_points:
            assert tuple(found[1].values.sharding.spec[: len(of_points)]) == of_points

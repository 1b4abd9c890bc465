"""A few long rows are multiplied in one pass on a CPU: numbers, derivatives, devices, and ranges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad.multi_loss import gram
from jaxgrad.multi_loss._inner_products import of_rows
from jaxgrad.multi_loss._long_rows import DEPTH, LANES, LONG, MANY, of_long_rows
from tests.bridge import assert_parity

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def drawn(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def by_hand(arrays):
    rows = jnp.concatenate(arrays)
    return jnp.matmul(rows, rows.T, precision="highest")


@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 2, 1), (5,)])
@pytest.mark.parametrize("rest", [0, 37])
def test_every_pair(sizes, rest):
    """With and without entries beyond the last block, of rows that lie in one matrix or in several."""
    arrays = [drawn(count, 2 * LANES * DEPTH + rest) for count in sizes]
    assert_parity(jax.jit(of_long_rows)(arrays), by_hand(arrays))


def test_derivatives():
    """Gradients, second derivatives along a direction, and a stack of problems."""
    arrays, moved = [drawn(3, 2, LANES * DEPTH + 5)], [drawn(3, 2, LANES * DEPTH + 5, 1)[..., 0]]
    along = drawn(2, 2)

    def of(products):
        def value(arrays):
            return jnp.sum(products(arrays) * along) ** 2

        return jax.jit(jax.vmap(lambda arrays, moved: jax.jvp(jax.value_and_grad(value), (arrays,), (moved,))))

    assert_parity(of(of_long_rows)(arrays, moved), of(by_hand)(arrays, moved))


def test_which_rows_are_long_and_few():
    """The reduction has a result for each pair; more rows, and shorter ones, are multiplied in pieces."""

    def results(count, length):
        jaxpr = jax.make_jaxpr(of_rows)(jnp.ones((count, length), jnp.float32))
        return str(jaxpr).count("of_long_rows")

    assert results(MANY, LONG) > 0
    assert results(MANY + 1, LONG) == results(MANY, LONG - 1) == 0


@pytest.mark.parametrize("scales", [(1, 1, 1), (0, 1, 2), (1e-10, 3e18, 1), (1e25, 1e25, 1e5), (1e-30, 1e-30, 1e-30)])
def test_no_length_is_out_of_range(scales):
    """Squares that float32 does not hold are taken once more in units, a piece at a time."""
    scales = np.array(scales)[:, None]
    rows = drawn(3, LONG + 3)
    matrix, unit = jax.jit(lambda rows: of_rows(rows).in_one_unit())((rows * scales).astype(np.float32))
    matrix, rows = np.asarray(matrix, float), rows * (scales / float(unit))
    lengths = np.linalg.norm(rows, axis=1)
    assert (np.abs(matrix - rows @ rows.T) <= 1e-5 * np.outer(lengths, lengths)).all()


def losses(w, x):
    """Means over examples, of one product for each loss."""
    return tuple(jnp.mean(jnp.sin(jnp.sum(x[:, k] * w[None], axis=-1))) for k in range(2))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_over_devices(kind):
    """Examples, and entries, over four devices, by `shard_map` and by the partitioner; derivatives too."""
    w, x = drawn(LONG), drawn(4, 2, LONG) / 700
    want, slope = gram(losses, w, x), jax.grad(lambda w: jnp.sum(gram(losses, w, x) ** 2))(w)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(kind,))

    def place(array, *spec):
        return jax.device_put(array, jax.NamedSharding(mesh, P(*spec)))

    with jax.set_mesh(mesh):
        plain, own = functools.partial(gram, losses), functools.partial(gram, losses, axis_name="d")
        by_device = jax.shard_map(own, mesh=mesh, in_specs=(P(), P("d")), out_specs=P())
        assert_parity(plain(place(w), place(x, "d")), want)
        assert_parity(plain(place(w, "d"), place(x, None, None, "d")), want)
        assert_parity(jax.jit(by_device)(place(w), place(x, "d")), want)
        of = jax.jit(jax.grad(lambda w, x: jnp.sum(by_device(w, x) ** 2)))
        assert_parity(of(place(w), place(x, "d")), slope)

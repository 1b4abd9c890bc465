"""`inr.coordinate_derivatives` against one backward pass a channel, closed forms, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad import inr
from jaxgrad.inr import coordinate_derivatives
from tests.bridge import assert_parity
from tests.inr.fields import field, siren_jax, siren_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    case = field()
    got = coordinate_derivatives(siren_jax, case.params, case.points)
    assert got.shape == (7, 3, 2)
    assert_parity(got, torch_ref.inr.coordinate_derivatives(siren_torch, case.params_torch, case.points_torch))


def test_matches_the_jacobian_of_each_point():
    case = field()
    jacobian = jax.jit(jax.vmap(jax.jacrev(siren_jax, argnums=1), (None, 0)))(case.params, case.points)
    assert_parity(coordinate_derivatives(siren_jax, case.params, case.points), jacobian)


@pytest.mark.parametrize("coordinates", [1, 8, 9])
def test_any_number_of_coordinates(coordinates):
    """Few tangents are written out, many are mapped."""
    matrix = jax.random.normal(jax.random.key(0), (4, coordinates))
    points = jax.random.normal(jax.random.key(1), (3, coordinates))
    got = coordinate_derivatives(lambda m, p: jnp.tanh(p @ m.T), matrix, points)
    assert_parity(got, (1 - jnp.tanh(points @ matrix.T) ** 2)[..., None] * matrix[None])


def product(params, p):
    return jnp.stack([p[..., 0] * p[..., 1], params["a"] * p[..., 0] ** 2], axis=-1)


def test_closed_form():
    points = jnp.array([[2.0, 3.0], [-1.0, 0.5]])
    want = jnp.array([[[3.0, 2.0], [20.0, 0.0]], [[0.5, -1.0], [-10.0, 0.0]]])
    assert_parity(coordinate_derivatives(product, {"a": 5.0}, points), want)


def test_takes_one_point_and_grids_of_points():
    case = field(6)
    rows = coordinate_derivatives(siren_jax, case.params, case.points)
    assert_parity(coordinate_derivatives(siren_jax, case.params, case.points[2]), rows[2])
    grid = coordinate_derivatives(siren_jax, case.params, case.points.reshape(2, 3, 2))
    assert_parity(grid, rows.reshape(2, 3, 3, 2))


def test_a_linear_field_has_the_matrix_as_its_derivative():
    matrix = jnp.arange(6.0).reshape(3, 2)
    got = coordinate_derivatives(lambda a, p: p @ a.T, matrix, jnp.ones((4, 2)))
    assert_parity(got, jnp.broadcast_to(matrix, (4, 3, 2)))


def test_no_points_give_no_rows():
    assert coordinate_derivatives(product, {"a": 1.0}, jnp.ones((0, 2))).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("fun", "points", "error", "words"),
    [
        (product, jnp.ones((2, 2), int), TypeError, r"points must have leaves.*\n.*got int64\[2,2\]"),
        (product, jnp.ones(()), ValueError, r"points must have shape \(..., d\).*float64\[\]"),
        (
            lambda a, p: p.sum(-1),
            jnp.ones((4, 2)),
            ValueError,
            r"shape \(4,channels\) for float64\[4,2\]; got float64\[4\]",
        ),
        (lambda a, p: p[:1], jnp.ones((4, 2)), ValueError, r"got float64\[1,2\]"),
        (lambda a, p: p > 0, jnp.ones((4, 2)), TypeError, r"values.*\n.*bool\[4,2\]"),
    ],
)
def test_refuses(fun, points, error, words):
    with pytest.raises(error, match=words):
        coordinate_derivatives(fun, {"a": 1.0}, points)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_16_bits_are_taken_in_float32(dtype):
    """Field, losses and targets in 16 bits give what the same numbers give in float32."""

    def field(weight, p):
        return jnp.sin(p @ weight)

    draw = np.random.default_rng(0).normal
    narrow = [jnp.asarray(draw(size=shape), dtype) for shape in [(2, 3), (50, 2), (50, 3), (50, 3, 2)]]
    wide = [array.astype(jnp.float32) for array in narrow]

    def all_of(weight, points, values, gradients):
        return (
            inr.coordinate_derivatives(field, weight, points),
            inr.value_loss(field, weight, points, values),
            inr.gradient_loss(field, weight, points, gradients),
        )

    assert_parity(all_of(*narrow), all_of(*wide), dtypes=True)

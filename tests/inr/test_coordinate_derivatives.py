"""`inr.coordinate_derivatives` against one backward pass a channel, closed forms, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.nnx import Rngs

import torch_ref.inr
from jaxgrad import inr
from jaxgrad.inr import coordinate_derivatives, sine_cosine
from jaxgrad.models import from_nnx, linen, nnx
from jaxgrad.verify.cases.families._siren import siren_params
from tests.bridge import assert_parity, to_jax
from tests.inr.fields import field, siren_jax, siren_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("second", [None, "laplacian", "hessian"])
def test_matches_torch(second):
    case = field()
    got = coordinate_derivatives(siren_jax, case.params, case.points, second=second)
    want = torch_ref.inr.coordinate_derivatives(siren_torch, case.params_torch, case.points_torch, second=second)
    assert_parity(tuple(got), want)
    assert got.jacobian.shape == (7, 3, 2)
    assert [part is None for part in got[2:]] == [second != "laplacian", second != "hessian"]


def test_matches_finite_differences_channel_by_channel():
    case = field()
    got = coordinate_derivatives(siren_jax, case.params, case.points, second="hessian")
    step, names = 1e-5, ("values", "jacobian")
    for j in range(2):
        ahead, behind = (
            coordinate_derivatives(siren_jax, case.params, case.points.at[:, j].add(h)) for h in (step, -step)
        )
        slopes, bends = ((getattr(ahead, name) - getattr(behind, name)) / (2 * step) for name in names)
        np.testing.assert_allclose(got.jacobian[..., j], slopes, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(got.hessian[..., j], bends, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("coordinates", one_in(2, [1, 8, 9]))
def test_any_number_of_coordinates(coordinates):
    """Few tangents are written out, many are mapped."""
    matrix = jax.random.normal(jax.random.key(0), (4, coordinates))
    points = jax.random.normal(jax.random.key(1), (3, coordinates))
    got = coordinate_derivatives(lambda m, p: jnp.tanh(p @ m.T), matrix, points)
    assert_parity(got.jacobian, (1 - jnp.tanh(points @ matrix.T) ** 2)[..., None] * matrix[None])


def product(params, p):
    return jnp.stack([p[..., 0] * p[..., 1], params["a"] * p[..., 0] ** 2], axis=-1)


def test_closed_form():
    points = jnp.array([[2.0, 3.0], [-1.0, 0.5]])
    want = jnp.array([[[3.0, 2.0], [20.0, 0.0]], [[0.5, -1.0], [-10.0, 0.0]]])
    got = coordinate_derivatives(product, {"a": 5.0}, points, second="hessian")
    assert_parity(got.jacobian, want)
    assert_parity(got.hessian, np.broadcast_to([[[0.0, 1.0], [1.0, 0.0]], [[10.0, 0.0], [0.0, 0.0]]], (2, 2, 2, 2)))


def test_takes_one_point_and_grids_of_points():
    case = field(6)
    rows = coordinate_derivatives(siren_jax, case.params, case.points, second="laplacian")
    one = coordinate_derivatives(siren_jax, case.params, case.points[2], second="laplacian")
    assert_parity(one, jax.tree.map(lambda leaf: leaf[2], rows))
    grid = coordinate_derivatives(siren_jax, case.params, case.points.reshape(2, 3, 2), second="laplacian")
    assert_parity(grid, jax.tree.map(lambda leaf: leaf.reshape(2, 3, *leaf.shape[1:]), rows))


def test_a_linear_field_has_the_matrix_as_its_derivative():
    matrix = jnp.arange(6.0).reshape(3, 2)
    for second, bend in (("laplacian", (4, 3)), ("hessian", (4, 3, 2, 2))):
        got = coordinate_derivatives(lambda a, p: p @ a.T, matrix, jnp.ones((4, 2)), second=second)
        assert_parity(got.jacobian, jnp.broadcast_to(matrix, (4, 3, 2)))
        np.testing.assert_array_equal(getattr(got, second), np.zeros(bend))


def test_a_field_that_ignores_its_points_has_no_derivatives():
    def constant(params, p):
        return jnp.broadcast_to(params["a"], (*p.shape[:-1], 3))

    got = coordinate_derivatives(constant, {"a": jnp.float32(2.0)}, jnp.ones((4, 2)), second="laplacian")
    assert [(part.shape, part.dtype, float(part.max())) for part in got[:3]] == [
        ((4, 3), jnp.float32, 2),
        ((4, 3, 2), jnp.float32, 0),
        ((4, 3), jnp.float32, 0),
    ]


def test_no_points_give_no_rows():
    got = coordinate_derivatives(product, {"a": 1.0}, jnp.ones((0, 2)), second="hessian")
    assert [part.shape for part in (got.values, got.jacobian, got.hessian)] == [(0, 2), (0, 2, 2), (0, 2, 2, 2)]


def grating(params, p):
    """Waves of one frequency vector, a quarter turn apart in two channels."""
    return jnp.stack(sine_cosine(p @ params["k"]), axis=-1)


def gaussian(params, p):
    """A bump about a centre, and its square root."""
    square = jnp.sum(jnp.square(p - jnp.broadcast_to(params["m"], p.shape)), axis=-1)
    return jnp.stack([jnp.exp(-square / 2), jnp.exp(-square / 4)], axis=-1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_analytic_fields(size):
    """A grating and a Gaussian, whose gradients and Laplacians are known, in one to three dimensions."""
    points = jax.random.normal(jax.random.key(0), (3, 5, size))
    k, m = jnp.array([1.5, -4.0, 2.5])[:size], jnp.array([0.3, -0.2, 0.7])[:size]
    got = coordinate_derivatives(grating, {"k": k}, points, second="laplacian")
    points, k = np.asarray(points), np.asarray(k)
    s, c = np.sin(points @ k), np.cos(points @ k)
    assert_parity(got.values, np.stack([s, c], -1))
    assert_parity(got.jacobian, np.stack([c, -s], -1)[..., None] * k)
    assert_parity(got.laplacian, -np.sum(k**2) * np.stack([s, c], -1))
    got = coordinate_derivatives(gaussian, {"m": m}, points, second="laplacian")
    values, square = np.asarray(gaussian({"m": m}, points)), np.sum((points - np.asarray(m)) ** 2, -1)[..., None]
    rate = np.array([1.0, 0.5])
    assert_parity(got.jacobian, -(rate * values)[..., None] * (points - np.asarray(m))[..., None, :])
    assert_parity(got.laplacian, values * (rate**2 * square - size * rate))


def test_units_turn_and_scale_with_the_plane():
    """The gradient of a turned field is turned, its Laplacian the same; a field n times finer is n and n^2 steeper."""
    case, angle = field(5), 0.7
    turn = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def moved(params, p):
        return siren_jax(params["net"], p @ params["map"].T)

    for name, matrix in (("turned", turn), ("finer", 3 * jnp.eye(2)), ("stretched", jnp.diag(jnp.array([2.0, 0.5])))):
        got = coordinate_derivatives(moved, {"net": case.params, "map": matrix}, case.points, second="hessian")
        want = coordinate_derivatives(siren_jax, case.params, case.points @ matrix.T, second="hessian")
        assert_parity(got.jacobian, want.jacobian @ matrix)
        assert_parity(got.hessian, jnp.swapaxes(jnp.swapaxes(want.hessian @ matrix, -1, -2) @ matrix, -1, -2))
        if name == "turned":
            traces = [jnp.trace(found.hessian, axis1=-2, axis2=-1) for found in (got, want)]
            assert_parity(*traces)


def test_a_field_of_anything():
    """Products of two moving arrays, quotients, loops, conditionals, checkpoints, gathers and custom rules."""

    def anything(params, p):
        def layer(x, w):
            return jax.nn.softplus(x @ w) / (1 + x**2), None

        x, _ = jax.lax.scan(jax.checkpoint(layer), p @ params["in"], params["hidden"])
        x = jax.lax.cond(params["in"][0, 0] > 0, jnp.tanh, jnp.cos, x)
        mixed = jnp.einsum("...i,...j->...ij", x, jax.nn.gelu(x, approximate=False))
        return jnp.concatenate([jnp.linalg.norm(mixed, axis=-1), jnp.maximum(x[..., ::-1], 0.1), p], axis=-1)

    keys = jax.random.split(jax.random.key(0), 3)
    params = {"in": jax.random.normal(keys[0], (2, 3)), "hidden": jax.random.normal(keys[1], (2, 3, 3))}
    points = jax.random.normal(keys[2], (4, 2))
    of_point = jax.vmap(jax.hessian(anything, argnums=1), (None, 0))(params, points)
    got = coordinate_derivatives(anything, params, points, second="hessian")
    assert_parity(got.values, anything(params, points))
    assert_parity(got.hessian, of_point)
    traces = jnp.trace(of_point, axis1=-2, axis2=-1)
    assert_parity(coordinate_derivatives(anything, params, points, second="laplacian").laplacian, traces)


def test_a_custom_rule_counts_at_every_order():
    """A rounding with derivative 1 (docs/nth.md): the Laplacian of ``sum(round(p) p^2)`` by its rule."""

    @jax.custom_jvp
    def rounded(x):
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (jnp.round(*primals), *tangents))

    def field(params, p):
        return params * jnp.sum(rounded(p) * p**2, axis=-1, keepdims=True)

    got = coordinate_derivatives(field, 1.0, jnp.array([[0.3, 1.2]]), second="laplacian")
    assert_parity(got.laplacian, np.array([[8.0]]))
    assert_parity(got.jacobian, np.array([[[0.09, 1.44 + 2 * 1.2]]]))


def test_a_layer_is_one_product_a_coefficient():
    """FLOPs of the Laplacian: the value, two slopes and a sum; trained, three times that and no more."""
    params, points = siren_params((2, 128, 128, 128, 1), 0), jnp.ones((128, 2), jnp.float32)
    params = to_jax(params, np.float32)

    def flops(fun):
        return jax.jit(fun).lower(params).compile().cost_analysis()["flops"]

    forward = flops(lambda p: siren_jax(p, points))
    step = flops(jax.grad(lambda p: jnp.mean(siren_jax(p, points) ** 2)))
    for second, evaluations, steps in ((None, 3.1, 3.1), ("laplacian", 4.2, 4.2), ("hessian", 6.3, 6.5)):

        def highest(p, second=second):
            found = coordinate_derivatives(siren_jax, p, points, second=second)
            return getattr(found, second or "jacobian")

        def loss(p, highest=highest):
            return jnp.mean(highest(p) ** 2)

        assert flops(highest) <= evaluations * forward
        assert flops(jax.grad(loss)) <= steps * step


@pytest.mark.parametrize("framework", one_in(2, ["linen", "nnx"]))  # tests/models/test_fields.py has both
def test_flax_models(framework):
    if framework == "linen":
        module = linen.Siren((2, 6, 5, 3), param_dtype=jnp.float64)
        params = module.init(jax.random.key(0), jnp.ones((1, 2)))
        apply = module.apply
    else:
        apply, params = from_nnx(nnx.Siren((2, 6, 5, 3), rngs=Rngs(0), param_dtype=jnp.float64))
    points = jax.random.uniform(jax.random.key(1), (4, 2), minval=-1)
    got = coordinate_derivatives(apply, params, points, second="laplacian")
    assert_parity(got.jacobian, jax.vmap(jax.jacrev(apply, argnums=1), (None, 0))(params, points))
    hessian = jax.vmap(jax.hessian(apply, argnums=1), (None, 0))(params, points)
    assert_parity(got.laplacian, jnp.trace(hessian, axis1=-2, axis2=-1))


@pytest.mark.parametrize(
    ("fun", "points", "error", "words"),
    [
        (product, np.ones((2, 2), int), TypeError, r"points must have leaves.*\n.*got int64\[2,2\]"),
        (product, [[1.0, 2.0]], TypeError, r"points must be one array; got a list: write jnp\.asarray\(points\)"),
        (lambda a, p: None, np.ones((4, 2)), ValueError, r"values has no differentiable leaves"),
        (product, np.ones(()), ValueError, r"points must have shape \(..., d\).*float64\[\]"),
        (product, np.ones((4, 0)), ValueError, r"points must have shape \(..., d\).*float64\[4,0\]"),
        (
            lambda a, p: p.sum(-1),
            np.ones((4, 2)),
            ValueError,
            r"shape \(4,channels\) for float64\[4,2\]; got float64\[4\]",
        ),
        (lambda a, p: p[:1], np.ones((4, 2)), ValueError, r"got float64\[1,2\]"),
        (lambda a, p: p > 0, np.ones((4, 2)), TypeError, r"values.*\n.*bool\[4,2\]"),
    ],
)
def test_refuses(fun, points, error, words):
    with pytest.raises(error, match=words):
        coordinate_derivatives(fun, {"a": 1.0}, points)
    with pytest.raises(error, match=words):
        coordinate_derivatives(fun, {"a": 1.0}, points, second="laplacian")


def test_refuses_another_order():
    with pytest.raises(ValueError, match="second must be one of 'laplacian', 'hessian'"):
        coordinate_derivatives(product, {"a": 1.0}, jnp.ones((4, 2)), second="third")


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
            inr.coordinate_derivatives(field, weight, points, second="hessian"),
            inr.value_loss(field, weight, points, values),
            inr.gradient_loss(field, weight, points, gradients),
            inr.laplacian_loss(field, weight, points, values),
        )

    assert_parity(all_of(*narrow), all_of(*wide), dtypes=True)

"""`shift.sam_gradient` against torch, on a quadratic, at a zero gradient, and at magnitudes that overflow."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import gradient, sam_gradient, value_and_sam_gradient
from tests.bridge import assert_parity, random_like
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("adaptive", [False, True])
def test_matches_torch(adaptive):
    problem = regression()
    got = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=adaptive)
    want = torch_ref.shift.sam_gradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, radius=0.5, adaptive=adaptive
    )
    assert_parity(got, want)


@pytest.mark.parametrize("adaptive", one_in(2, [False, True], 1))
def test_value_and_gradient_match_torch(adaptive):
    problem = regression()
    got = value_and_sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=adaptive)
    want = torch_ref.shift.value_and_sam_gradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, radius=0.5, adaptive=adaptive
    )
    assert_parity(got, want)


OPTIONS = {
    "exact": {"exact": True},
    "exact ASAM, three steps, groups": {"exact": True, "adaptive": True, "num_steps": 3, "groups": 2, "offset": 0.2},
    "ASAM of the weights alone, two steps": {"adaptive": True, "num_steps": 2, "scaled": "*/weight"},
    "groups": {"groups": 4},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_torch(options):
    problem = regression((3, 4, 2), batch=8)
    got = value_and_sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, **options)
    flags = {name: {leaf: leaf == "weight" for leaf in layer} for name, layer in problem.params.items()}
    theirs = options | ({"scaled": flags} if "scaled" in options else {})
    want = torch_ref.shift.value_and_sam_gradient(
        mean_square_torch, problem.params_torch, *problem.data_torch, radius=0.5, **theirs
    )
    assert_parity(got, want)


def quadratic(w, H):
    return w @ H @ w / 2


H, W = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, -1.0])


def test_closed_form_of_a_quadratic():
    """H (w + r g / |g|) with g = H w; for ASAM, H (w + r T^2 g / |T g|)."""
    g, T = H @ W, jnp.abs(W) + 0.1
    assert_parity(sam_gradient(quadratic, W, H, radius=0.3), H @ (W + 0.3 * g / jnp.linalg.norm(g)))
    got = sam_gradient(quadratic, W, H, radius=0.3, adaptive=True, offset=0.1)
    assert_parity(got, H @ (W + 0.3 * T**2 * g / jnp.linalg.norm(T * g)))


def test_closed_form_of_the_exact_gradient():
    """(I + Da)^T H (w + a), with Da = r (I - u u^T) H / |g|."""
    g = H @ W
    u, size = g / jnp.linalg.norm(g), jnp.linalg.norm(g)
    turn = 0.3 * (jnp.eye(2) - jnp.outer(u, u)) @ H / size
    got = sam_gradient(quadratic, W, H, radius=0.3, exact=True)
    assert_parity(got, (jnp.eye(2) + turn).T @ H @ (W + 0.3 * u))


def test_two_steps_on_a_quadratic():
    """Each step is half of the radius along the gradient where it starts."""
    first = 0.15 * H @ W / jnp.linalg.norm(H @ W)
    there = H @ (W + first)
    got = sam_gradient(quadratic, W, H, radius=0.3, num_steps=2)
    assert_parity(got, H @ (W + first + 0.15 * there / jnp.linalg.norm(there)))


@pytest.mark.parametrize("exact", [False, True])
def test_a_scaled_loss_has_the_scaled_gradient(exact):
    """There is no constant in the norm: powers of two change nothing but the exponent."""

    def scaled(w, H, c):
        return c * quadratic(w, H)

    options = {"radius": jnp.float32(0.3), "exact": exact}
    w, h = W.astype(jnp.float32), H.astype(jnp.float32)
    plain = sam_gradient(scaled, w, h, jnp.float32(1.0), **options)
    for c in (2.0**-80, 2.0**15):
        got = sam_gradient(scaled, w, h, jnp.float32(c), **options)
        assert_parity(got / jnp.float32(c), plain, tolerance=1e-6 if c < 1 else 0.0)


def test_groups_hand_the_rest_to_every_group():
    """A state and a key are not split; every aux has the groups in front."""
    problem = regression((3, 4, 2), batch=8)

    def loss(params, state, x, y, key):
        return mean_square(params, x, y), (state + x.mean(), key)

    x, y = problem.data
    data, options = (jnp.array(3.0), x, y, jax.random.key(0)), {"radius": 0.5, "groups": 4, "batched": (1, 2)}
    slope, (means, keys) = sam_gradient(loss, problem.params, *data, has_aux=True, **options)
    assert_parity(slope, sam_gradient(mean_square, problem.params, x, y, radius=0.5, groups=4))
    assert_parity(means, 3 + x.reshape(4, -1).mean(1))
    assert keys.shape == (4,)


def test_one_example_a_group_is_per_example_sam():
    points = jnp.array([1.0, 2.0, -4.0])
    got = sam_gradient(lambda w, x: jnp.mean((w - x) ** 2), jnp.array(0.0), points, radius=0.5, groups=3)
    assert_parity(got, jnp.mean(2 * (-0.5 * jnp.sign(points) - points)))


def test_the_aux_of_either_pass():
    def loss(w):
        return jnp.sum(w**2) / 2, w

    for state, at in (("clean", [3.0, 4.0]), ("moved", [3.3, 4.4])):
        _, aux = sam_gradient(loss, jnp.array([3.0, 4.0]), has_aux=True, radius=0.5, state=state)
        assert_parity(aux, jnp.array(at))


@pytest.mark.parametrize("dtype", one_in(2, [jnp.bfloat16, jnp.float16]))
def test_16_bits_are_moved_in_float32(dtype):
    """A shift of 2^-13 an entry, below the spacing at 1; the gradient of c (w - 1)^2 there is 2 c 2^-13."""

    def loss(w):
        return jnp.sum((w - 1) ** 2) * w.dtype.type(2.0**10) + jnp.sum(w) * w.dtype.type(2.0**-4)

    w = jnp.ones(4, dtype)
    got = sam_gradient(loss, w, radius=2.0**-12)
    assert got.dtype == dtype
    assert_parity(got, jnp.full(4, 2.0**-2 + 2.0**-4, dtype))


def test_the_value_is_that_of_the_weights_as_they_are():
    """w . H w / 2 at w, not at the worst point; its derivative is the plain gradient."""
    value, slope = value_and_sam_gradient(quadratic, W, H, radius=0.3)
    assert_parity(value, W @ H @ W / 2)
    assert_parity(slope, sam_gradient(quadratic, W, H, radius=0.3), tolerance=0.0)
    assert_parity(jax.grad(lambda w: value_and_sam_gradient(quadratic, w, H, radius=0.3)[0])(W), H @ W)


def test_asam_does_not_see_a_rescaling_of_the_weights():
    """With offset 0, the loss at the worst point is the same for w -> c w with the loss of w / c."""
    problem = regression()

    def rescaled(params, x, y):
        return mean_square(_tree.scale(params, 0.25), x, y)

    got = sam_gradient(rescaled, _tree.scale(problem.params, 4.0), *problem.data, radius=0.5, adaptive=True, offset=0.0)
    want = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, adaptive=True, offset=0.0)
    assert_parity(_tree.scale(got, 4.0), want)


@pytest.mark.parametrize("adaptive", one_in(2, [False, True], 1))
def test_a_zero_gradient_gives_the_plain_gradient(adaptive):
    """At a stationary point there is no direction: 0, and never NaN, under a second derivative too."""

    def slope(w):
        return sam_gradient(lambda w: jnp.sum(w**2 * jnp.array([1.0, -3.0])), w, radius=0.1, adaptive=adaptive)

    assert_parity(slope(jnp.zeros(2)), jnp.zeros(2))
    assert_parity(jax.jacobian(slope)(jnp.zeros(2)), jnp.diag(jnp.array([2.0, -6.0])))


def test_a_radius_of_zero_is_the_plain_gradient():
    problem = regression()
    plain = jax.jit(jax.grad(mean_square))(problem.params, *problem.data)
    assert_parity(sam_gradient(mean_square, problem.params, *problem.data, radius=0), plain)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_direction_survives_squares_that_overflow(size):
    def loss(w):
        return jnp.sum(w**2) * jnp.float32(size)

    got = sam_gradient(loss, jnp.array([3.0, 4.0], jnp.float32), radius=5.0)
    assert_parity(got / jnp.float32(size), jnp.array([12.0, 16.0]), tolerance=1e-6)


def pushed(fun, params, vector):
    return jax.jit(lambda p, v: jax.jvp(fun, (p,), (v,))[1])(params, vector)


def test_the_shift_is_a_constant_for_differentiation():
    problem = regression()
    vector = random_like(problem.params, 1)
    plain = jax.jit(jax.grad(mean_square))(problem.params, *problem.data)
    shift = _tree.scale(plain, 0.5 / _tree.norm(plain))
    got = pushed(lambda p: sam_gradient(mean_square, p, *problem.data, radius=0.5), problem.params, vector)
    want = pushed(lambda p: gradient(mean_square, p, shift, *problem.data), problem.params, vector)
    assert_parity(got, want)


def test_is_differentiable_in_the_radius():
    """d/dr H (w + r u) = H u."""
    g = H @ W
    slope = jax.jacobian(lambda r: sam_gradient(quadratic, W, H, radius=r))(0.3)
    assert_parity(slope, H @ g / jnp.linalg.norm(g))


def test_wrt_moves_and_differentiates_the_chosen_leaves():
    problem = regression()
    got = sam_gradient(mean_square, problem.params, *problem.data, radius=0.5, wrt="layer1")
    held = {name: layer for name, layer in problem.params.items() if name != "layer1"}
    inner = {"layer1": problem.params["layer1"]}
    want = sam_gradient(lambda p, *data: mean_square({**held, **p}, *data), inner, *problem.data, radius=0.5)
    assert_parity(got["layer1"], want["layer1"])
    assert not got["layer0"]["weight"].any()


def test_nan_is_not_hidden():
    assert jnp.isnan(sam_gradient(lambda w: jnp.sum(jnp.log(w)), jnp.array([-jnp.nan, 1.0]), radius=0.1)).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1; got 0"),
        ({"groups": 3}, ValueError, r"data\[0\] has length 2, to be split into 3"),
        ({"groups": 2.0}, TypeError, "groups must be a Python integer"),
        ({"groups": 2, "batched": (1,)}, ValueError, r"batched=\(1,\) must name some of the 1 arguments"),
        ({"state": "both"}, ValueError, "state must be one of 'clean', 'moved'"),
        ({"adaptive": True, "scaled": "w"}, ValueError, "scaled='w' selects no leaf of params"),
    ],
)
def test_rejects_options_that_mean_nothing(options, error, message):
    with pytest.raises(error, match=message):
        sam_gradient(quadratic, W, H, radius=0.1, **options)


def test_rejects_data_without_a_batch():
    with pytest.raises(ValueError, match=r"(?s)groups splits the leading axis.*data\[1\]: got float64\[\]; name with"):
        sam_gradient(lambda w, x, c: jnp.sum(w * x) * c, W, H, jnp.array(2.0), radius=0.1, groups=2)
    with pytest.raises(ValueError, match="groups splits the batch among the arguments that follow params, and there"):
        sam_gradient(lambda w: jnp.sum(w**2), W, radius=0.1, groups=2)


def test_rejects_a_negative_radius():
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got -1"):
        sam_gradient(quadratic, W, H, radius=-1.0)
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got nan"):
        sam_gradient(quadratic, W, H, radius=float("nan"))
    with pytest.raises(ValueError, match=r"radius must be one number.*float64\[2\]"):
        sam_gradient(quadratic, W, H, radius=jnp.ones(2))

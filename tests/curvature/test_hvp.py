"""`curvature.hvp` against double backward, a closed form, its laws, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.curvature
from jaxgrad import nth
from jaxgrad.curvature import dense_hessian, hvp
from tests.bridge import assert_parity, random_like, to_torch
from tests.laws import assert_linear, assert_symmetric
from tests.problems import mean_square, mean_square_torch, regression

pytestmark = pytest.mark.usefixtures("compiled_quickly")

MODES = ("forward-over-reverse", "reverse-over-forward", "reverse-over-reverse", "finite-difference")
TOLERANCE = {"finite-difference": 1e-7}
"""Two thirds of the digits of float64, with a margin; the others are exact."""


@pytest.mark.parametrize("mode", MODES)
def test_matches_torch(mode):
    problem = regression()
    vector = random_like(problem.params, 1)
    got = hvp(mean_square, problem.params, vector, *problem.data, mode=mode)
    want = torch_ref.curvature.hvp(mean_square_torch, problem.params_torch, to_torch(vector), *problem.data_torch)
    assert_parity(got, want, tolerance=TOLERANCE.get(mode, 1e-10))


def quadratic(params, matrix):
    x = jnp.concatenate([params["a"], params["b"]])
    return 0.5 * x @ matrix @ x


def test_closed_form_of_a_quadratic():
    matrix = jnp.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 4.0]])
    params = {"a": jnp.ones(1), "b": jnp.ones(2)}
    got = hvp(quadratic, params, {"a": jnp.array([1.0]), "b": jnp.array([2.0, 3.0])}, matrix)
    assert_parity(got, {"a": jnp.array([5.5]), "b": jnp.array([4.0, 10.5])})


def test_is_symmetric_and_linear():
    problem = regression()
    assert_symmetric(lambda v: hvp(mean_square, problem.params, v, *problem.data), problem.params)
    assert_linear(lambda v: hvp(mean_square, problem.params, v, *problem.data), problem.params)


def test_zero_vector_gives_zero():
    problem = regression()
    zero = jax.tree.map(jnp.zeros_like, problem.params)
    assert_parity(hvp(mean_square, problem.params, zero, *problem.data), zero)


def test_wrt_is_a_block_of_the_hessian():
    problem = regression()
    vector = random_like(problem.params, 1)
    masked = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in vector.items()}
    full = hvp(mean_square, problem.params, masked, *problem.data)
    want = {k: {"weight": v["weight"], "bias": jnp.zeros_like(v["bias"])} for k, v in full.items()}
    assert_parity(hvp(mean_square, problem.params, vector, *problem.data, wrt="*/weight"), want)


def test_rejects_a_vector_of_another_shape():
    problem = regression()
    wrong = {**problem.params, "layer0": {"weight": jnp.ones((3, 6))}}
    with pytest.raises(ValueError, match=r"(?s)vector\['layer0'\]\['bias'\]: got nothing.*float64\[6,3\]"):
        hvp(mean_square, problem.params, wrong, *problem.data)


def test_rejects_an_unknown_mode():
    problem = regression()
    with pytest.raises(ValueError, match="mode must be one of 'forward-over-reverse'"):
        hvp(mean_square, problem.params, problem.params, *problem.data, mode="reverse")


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))


@jax.custom_vjp
def reverse_inside_reverse(x):
    return 2 * jnp.sin(x)


reverse_inside_reverse.defvjp(lambda x: (2 * jnp.sin(x), x), lambda x, g: (cube(x) * g,))


@jax.custom_jvp
def reverse_inside_forward(x):
    return jnp.sin(x)


reverse_inside_forward.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), cube(primals[0]) * tangents[0]))


@jax.custom_vjp
def three_deep(x):
    return reverse_inside_forward(x)


three_deep.defvjp(lambda x: (three_deep(x), x), lambda x, g: (jax.jit(reverse_inside_reverse)(x) * g,))

NESTED = [reverse_inside_reverse, reverse_inside_forward, three_deep]


@pytest.mark.parametrize("function", NESTED)
def test_nested_custom_rules_are_differentiated_or_refused_with_the_mode_to_take(function):
    def loss(p):
        return jnp.sum(function(p["w"]))

    at = {"w": jnp.array([0.5, 1.2])}
    want = jax.jacrev(jax.grad(lambda w: jnp.sum(function(w))))(at["w"])
    assert_parity(hvp(loss, at, at, mode="reverse-over-reverse")["w"], want @ at["w"])
    assert_parity(dense_hessian(loss, at, mode="reverse-over-reverse"), want)
    words = r'custom_vjp function \w+, used at .*test_hvp\.py:\d+.*write mode="reverse-over-reverse"'
    for refused in (lambda: hvp(loss, at, at), lambda: dense_hessian(loss, at), jax.jit(lambda: hvp(loss, at, at))):
        with pytest.raises(TypeError, match=words):
            refused()


def straight_through(hides):
    @jax.custom_vjp
    def ste(x):
        return jnp.round(x)

    ste.defvjp(lambda x: (jnp.round(x) if hides else ste(x), None), lambda _, g: (g,))
    return lambda p: jnp.sum(ste(p) * p**2)


def one_with_slope(hides):
    @jax.custom_jvp
    def one(x):
        return jnp.ones_like(x)

    one.defjvp(lambda p, t: (jnp.ones_like(p[0]) if hides else one(p[0]), p[0] * t[0]))
    return lambda x: one(x) ** 2


@pytest.mark.parametrize(("hides", "here"), [(True, 5.0), (False, 8.0)])
def test_a_rule_that_hides_its_derivative_is_a_constant_here_and_counts_in_nth(hides, here):
    """The table in docs/nth.md: the two agree where the rule returns the value of the function itself."""
    fun, p = straight_through(hides), jnp.array([0.3, 1.2])
    assert_parity(jnp.trace(dense_hessian(fun, p, mode="reverse-over-reverse")), here)
    assert_parity(jnp.trace(jax.jacrev(jax.jacrev(fun))(p)), here)
    assert_parity(nth.laplacian(fun, p), 8.0)


@pytest.mark.parametrize(("hides", "here"), [(True, 2.0), (False, 2.5)])
def test_a_forward_rule_that_hides_its_derivative(hides, here):
    fun, x = one_with_slope(hides), jnp.array(0.5)
    assert_parity(hvp(fun, x, jnp.array(1.0)), here)
    assert_parity(jax.hessian(fun)(x), here)
    assert_parity(nth.derivatives(fun, x, 2), jnp.array([1.0, 1.0, 2.5]))


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.parametrize(
    ("mode", "chunk", "cache"),
    [
        (MODES[0], None, True),
        pytest.param(MODES[0], 2, True, marks=pytest.mark.slow),
        (MODES[0], 2, False),
        pytest.param(MODES[1], 2, True, marks=pytest.mark.slow),
        pytest.param(MODES[2], 2, False, marks=pytest.mark.slow),
    ],
)
def test_several_vectors_are_one_after_another(mode, chunk, cache):
    problem = regression((3, 4, 2))
    vectors = [random_like(problem.params, seed) for seed in range(3)]
    options = {"mode": mode, "chunk": chunk, "cache": cache, "full_output": True}
    got = hvp(mean_square, problem.params, stack(*vectors), *problem.data, **options)
    want = [hvp(mean_square, problem.params, v, *problem.data) for v in vectors]
    assert_parity(got.product, stack(*want))
    assert_parity((got.value, got.gradient), jax.jit(jax.value_and_grad(mean_square))(problem.params, *problem.data))


def test_several_vectors_by_finite_differences_and_wrt():
    problem = regression((3, 4, 2))
    vectors = stack(*(random_like(problem.params, seed) for seed in range(3)))
    given = (mean_square, problem.params, vectors, *problem.data)
    got = hvp(*given, mode="finite-difference", chunk=2, wrt="layer1")
    assert_parity(got, hvp(*given, wrt="layer1"), tolerance=1e-7)
    assert got["layer0"]["bias"].shape == (3, 4)


@pytest.mark.parametrize("mode", MODES)
def test_full_output_is_the_value_and_the_gradient(mode):
    problem = regression((3, 4, 2))
    vector = random_like(problem.params, 1)
    got = hvp(mean_square, problem.params, vector, *problem.data, mode=mode, full_output=True)
    assert_parity((got.value, got.gradient), jax.jit(jax.value_and_grad(mean_square))(problem.params, *problem.data))
    assert_parity(
        got.product,
        hvp(mean_square, problem.params, vector, *problem.data),
        tolerance=TOLERANCE.get(mode, 1e-10),
    )


def linear_regression(w, x, y):
    return 0.5 * jnp.mean((x @ w - y) ** 2)


def logistic_regression(w, x, y):
    z = x @ w
    return jnp.mean(jax.nn.softplus(z) - y * z)


def softmax_regression(w, x, y):
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(x @ w), -1))


def test_closed_forms_of_regressions():
    """A fault of automatic differentiation itself would be seen by these alone."""
    x, w = random_like(jnp.zeros((9, 4)), 0), random_like(jnp.zeros(4), 1)
    v, y = random_like(w, 2), (random_like(jnp.zeros(9), 3) > 0).astype(x.dtype)
    assert_parity(hvp(linear_regression, w, v, x, y), x.T @ x @ v / 9)
    p = jax.nn.sigmoid(x @ w)
    assert_parity(hvp(logistic_regression, w, v, x, y), x.T @ (p * (1 - p) * (x @ v)) / 9)
    weight, vector = random_like(jnp.zeros((4, 3)), 4), random_like(jnp.zeros((4, 3)), 5)
    labels, p = jax.nn.one_hot(jnp.arange(9) % 3, 3), jax.nn.softmax(x @ weight)
    blocks = jnp.einsum("na,nb,nij->aibj", x, x, jax.vmap(lambda q: jnp.diag(q) - jnp.outer(q, q))(p)) / 9
    got = hvp(softmax_regression, weight, vector, x, labels.astype(x.dtype))
    assert_parity(got, jnp.einsum("aibj,bj->ai", blocks, vector))


def test_two_products_are_equal_bit_for_bit():
    problem = regression()
    vector = random_like(problem.params, 1)
    first, second = (hvp(mean_square, problem.params, vector, *problem.data) for _ in range(2))
    assert_parity(first, second, tolerance=0.0)


@pytest.mark.parametrize("size", [0.0, 1e-200, 1e200])
def test_finite_differences_of_vectors_of_any_length(size):
    w = jnp.array([1.0, 2.0])
    got = hvp(lambda w: jnp.sum(w**4), w, size * jnp.array([1.0, -1.0]), mode="finite-difference")
    assert_parity(got, size * jnp.array([12.0, -48.0]), tolerance=1e-8)


def slope_on_the_host(x):
    return jax.pure_callback(lambda x: 3 * x**2, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


@jax.custom_vjp
def cube_with_a_slope_on_the_host(x):
    return x**3


cube_with_a_slope_on_the_host.defvjp(lambda x: (x**3, x), lambda x, g: (slope_on_the_host(x) * g,))


def test_a_rule_without_a_second_derivative_is_named_and_takes_differences():
    def loss(w):
        return jnp.sum(cube_with_a_slope_on_the_host(w))

    w, v = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])
    for mode in MODES[:3]:
        words = r'mode="\S+" differ.*pure_callback, used at .*test_hvp\.py:\d+.*write mode="finite-difference"'
        with pytest.raises(TypeError, match=words):
            hvp(loss, w, v, mode=mode)
    assert_parity(hvp(loss, w, v, mode="finite-difference"), jnp.array([6.0, 12.0]), tolerance=1e-8)


def test_a_reverse_rule_alone_is_not_pushed_forward():
    words = r'custom_vjp function \w+, used at .*test_hvp\.py:\d+.*write mode="forward-over-reverse"'
    with pytest.raises(TypeError, match=words):
        hvp(lambda w: jnp.sum(cube(w)), jnp.ones(2), jnp.ones(2), mode="reverse-over-forward")


def test_an_error_of_the_loss_is_its_own():
    def fails(w):
        message = "the user's own"
        raise ValueError(message)

    with pytest.raises(ValueError, match="the user's own"):
        hvp(fails, jnp.ones(2), jnp.ones(2))


def normalized(params, x):
    """A loss with a BatchNorm in training mode; its aux are the new statistics."""
    h = x @ params["w"]
    mean, variance = h.mean(0), h.var(0)
    out = jnp.tanh((h - mean[None]) / jnp.sqrt(variance + 1e-3)[None] * params["scale"][None])
    return jnp.mean(out**2), {"mean": mean, "variance": variance}


def test_a_batch_norm_in_training_mode_is_that_of_the_batch():
    params = random_like({"w": jnp.zeros((3, 2)), "scale": jnp.zeros(2)}, 0)
    x, vector = random_like(jnp.zeros((6, 3)), 1), random_like(params, 2)
    got, statistics = hvp(normalized, params, vector, x, has_aux=True)
    gradient = jax.grad(lambda p: normalized(p, x)[0])
    h = 1e-5
    ahead, behind = (gradient(jax.tree.map(lambda a, b, t=t: a + t * b, params, vector)) for t in (h, -h))
    assert_parity(got, jax.tree.map(lambda a, b: (a - b) / (2 * h), ahead, behind), tolerance=1e-7)
    assert_parity(statistics["mean"], (x @ params["w"]).mean(0))


def test_rejects_vectors_of_several_lengths_and_a_chunk_of_nothing():
    problem = regression((3, 4, 2))
    several = stack(problem.params, problem.params)
    ragged = {**several, "layer0": jax.tree.map(lambda leaf: leaf[:1], several["layer0"])}
    with pytest.raises(ValueError, match=r"(?s)must have one length on every leaf.*vector\['layer0'\]\['bias'\]: got"):
        hvp(mean_square, problem.params, ragged, *problem.data)
    with pytest.raises(ValueError, match="chunk must be at least 1; got 0"):
        hvp(mean_square, problem.params, several, *problem.data, chunk=0)

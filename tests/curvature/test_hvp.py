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

MODES = ("forward-over-reverse", "reverse-over-reverse")


@pytest.mark.parametrize("mode", MODES)
def test_matches_torch(mode):
    problem = regression()
    vector = random_like(problem.params, 1)
    got = hvp(mean_square, problem.params, vector, *problem.data, mode=mode)
    want = torch_ref.curvature.hvp(mean_square_torch, problem.params_torch, to_torch(vector), *problem.data_torch)
    assert_parity(got, want)


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

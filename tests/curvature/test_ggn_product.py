"""`curvature.ggn_product` against dense matrices in torch, the Hessian of linear models, its laws, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.curvature
from jaxgrad import _tree
from jaxgrad.curvature import dense_hessian, ggn_product, hvp
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.bridge import assert_parity, random_like, to_torch
from tests.laws import assert_linear, assert_symmetric
from tests.problems import regression
from tests.turns import covering, one_in

PROBLEM = regression((3, 4, 3), batch=5)
PARAMS, X = PROBLEM.params, PROBLEM.data[0]
VECTOR = random_like(PARAMS, 1)
RNG = np.random.default_rng(7)
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 1.0])
SHARES = RNG.dirichlet(np.ones(3), size=5)
LABELS = {
    "squared_error": RNG.normal(size=(5, 3)),
    "softmax_cross_entropy": np.arange(5) % 3,
    "bernoulli": (RNG.normal(size=(5, 3)) > 0).astype(float),
}


def product(name, *targets, vector=VECTOR, **options):
    return ggn_product(mlp_jax, PARAMS, vector, X, *map(jnp.asarray, targets), output_loss=name, **options)


def twin(name, *targets, model=mlp_torch, x=PROBLEM.data_torch[0]):
    given = (model, PROBLEM.params_torch, to_torch(VECTOR), x, *map(torch.as_tensor, targets))
    return torch_ref.curvature.ggn_product(*given, output_loss=name)


@pytest.mark.parametrize(("name", "targets"), covering(LABELS, [(), (WEIGHTS,)]))
def test_matches_torch(name, targets, compiled_quickly):
    assert_parity(product(name, LABELS[name], *targets), twin(name, LABELS[name], *targets))


def test_distributions_as_labels_match_torch(compiled_quickly):
    assert_parity(product("softmax_cross_entropy", SHARES), twin("softmax_cross_entropy", SHARES))
    # labels that do not add up to 1 have their own curvature
    assert_parity(product("softmax_cross_entropy", 2 * SHARES), twin("softmax_cross_entropy", 2 * SHARES))


@pytest.mark.parametrize("weights", [np.ones((2,)), np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]])])
def test_several_positions_in_an_example_match_torch(weights, compiled_quickly):
    """An example's weight is that of the mean over its positions."""
    x, labels = RNG.normal(size=(2, 3, 3)), RNG.integers(0, 3, (2, 3))
    given = (jnp.asarray(labels), jnp.asarray(weights))
    got = ggn_product(mlp_jax, PARAMS, VECTOR, jnp.asarray(x), *given, output_loss="softmax_cross_entropy")
    assert_parity(got, twin("softmax_cross_entropy", labels, weights, x=torch.as_tensor(x)))


def huber(outputs, y):
    return jnp.mean(jnp.sqrt(1 + (outputs["f"] - y) ** 2))


def test_any_loss_of_any_outputs_matches_torch(compiled_quickly):
    labels = LABELS["squared_error"]
    got = ggn_product(
        lambda p, x: {"f": mlp_jax(p, x)}, PARAMS, VECTOR, X, jnp.asarray(labels), output_loss=huber, full_output=True
    )
    assert_parity(got.product, twin(lambda f, y: (1 + (f - y) ** 2).sqrt().mean(), labels))
    want = jax.jit(jax.value_and_grad(lambda p: huber({"f": mlp_jax(p, X)}, jnp.asarray(labels))))(PARAMS)
    assert_parity((got.value, got.gradient), want)


def written_out(name, f, y):
    """The losses in words of JAX."""
    if name == "squared_error":
        return 0.5 * jnp.mean(jnp.sum((f - y) ** 2, -1))
    if name == "bernoulli":
        return jnp.mean(jnp.sum(jax.nn.softplus(f) - y * f, -1))
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f), y[:, None], 1))


@pytest.mark.parametrize("name", LABELS)
def test_closed_forms_are_the_derivatives_of_the_losses(name, compiled_quickly):
    y = jnp.asarray(LABELS[name])
    got = product(name, y, full_output=True)
    assert_parity(got.product, product(lambda f, y: written_out(name, f, y), y))
    want = jax.jit(jax.value_and_grad(lambda p: written_out(name, mlp_jax(p, X), y)))(PARAMS)
    assert_parity((got.value, got.gradient), want)


@pytest.mark.parametrize("name", one_in(2, LABELS, 1))
def test_of_a_linear_model_it_is_the_hessian(name, compiled_quickly):
    w, v, y = random_like(jnp.zeros((3, 3)), 2), random_like(jnp.zeros((3, 3)), 3), jnp.asarray(LABELS[name])
    got = ggn_product(lambda w, x: x @ w, w, v, X, y, output_loss=name)
    assert_parity(got, hvp(lambda w: written_out(name, X @ w, y), w, v))


def test_is_symmetric_linear_and_semi_definite(compiled_quickly):
    y = LABELS["softmax_cross_entropy"]
    assert_symmetric(lambda v: product("softmax_cross_entropy", y, vector=v), PARAMS)
    assert_linear(lambda v: product("softmax_cross_entropy", y, vector=v), PARAMS)
    vectors = [random_like(PARAMS, seed) for seed in range(5)]
    assert all(_tree.dot(v, product("softmax_cross_entropy", y, vector=v)) >= 0 for v in vectors)


@pytest.mark.parametrize(("chunk", "cache"), [(None, True), (2, True), (2, False)])
def test_several_vectors_and_wrt(chunk, cache, compiled_quickly):
    vectors = [random_like(PARAMS, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *vectors)
    y = LABELS["bernoulli"]
    got = product("bernoulli", y, vector=stacked, chunk=chunk, cache=cache, wrt="layer1")
    want = [product("bernoulli", y, vector=v, wrt="layer1") for v in vectors]
    assert_parity(got, jax.tree.map(lambda *leaves: jnp.stack(leaves), *want))
    assert got["layer0"]["weight"].shape == (3, 4, 3)


@jax.custom_vjp
def tanh(x):
    return jnp.tanh(x)


tanh.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, g: ((1 - y**2) * g,))


def test_a_model_with_a_reverse_rule_alone(compiled_quickly):
    y = LABELS["squared_error"]
    got = ggn_product(lambda p, x: mlp_jax(p, x, tanh), PARAMS, VECTOR, X, jnp.asarray(y), output_loss="squared_error")
    assert_parity(got, product("squared_error", y))


def test_masked_and_certain_logits_stay_finite():
    """Logits of -inf, and probabilities that float32 rounds to 1."""
    w = jnp.asarray([[40.0, -40.0, 0.0]], jnp.float32)

    def model(w, x):
        return jnp.where(jnp.array([True, True, False])[None], x @ w, -jnp.inf)

    x, y = jnp.ones((2, 1), jnp.float32), jnp.array([0, 1])
    got = ggn_product(model, w, jnp.ones_like(w), x, y, output_loss="softmax_cross_entropy", full_output=True)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(got))
    shares = jnp.asarray([[0.5, 0.5, 0.0]] * 2, jnp.float32)
    soft = ggn_product(model, w, jnp.ones_like(w), x, shares, output_loss="softmax_cross_entropy", full_output=True)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(soft))


def test_no_logarithm_of_a_softmax_is_in_the_product():
    y = jnp.asarray(LABELS["softmax_cross_entropy"])

    def operations(**options):
        program = jax.make_jaxpr(lambda v: product("softmax_cross_entropy", y, vector=v, **options))(VECTOR)
        return str(program)

    assert "= exp " in operations()
    assert "= log " not in operations()
    # of any loss it is: the words are those of this JAX
    generic = jax.make_jaxpr(lambda v: product(lambda f, y: written_out("", f, y), y, vector=v))(VECTOR)
    assert "= log " in str(generic)


@pytest.mark.parametrize(
    ("name", "targets", "error", "words"),
    [
        (
            "squared_error",
            (np.ones((5,)),),
            ValueError,
            r"shape of the outputs, \[5,3\]; got float64\[5\]: nothing is",
        ),
        (
            "softmax_cross_entropy",
            (np.ones((5,)),),
            TypeError,
            r"must be integers; got float64\[5\]: write labels.ast",
        ),
        ("softmax_cross_entropy", (np.ones((5, 2)),), ValueError, r"or class numbers of shape \[5\]; got float64"),
        ("bernoulli", (np.ones((5, 3)), np.ones(4)), ValueError, r"weights must have the leading axes.*\[5\]"),
        ("bernoulli", (), ValueError, "takes one target, the labels, or two.*got 0"),
        ("bernoulli", (None,), TypeError, "must be one array; got None"),
        ("mse", (np.ones((5, 3)),), ValueError, "output_loss must be one of 'squared_error'"),
        (3, (np.ones((5, 3)),), TypeError, "output_loss must be one of .*or a function"),
    ],
)
def test_refuses_targets_that_do_not_fit(name, targets, error, words):
    with pytest.raises(error, match=words):
        ggn_product(mlp_jax, PARAMS, VECTOR, X, *targets, output_loss=name)


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (lambda p, x: mlp_jax(p, x)[:, 0], ValueError, r"returned float64\[5\]: write outputs\[:, None\]"),
        (lambda p, x: (mlp_jax(p, x), x), TypeError, "got a tuple: return the outputs alone, or pass has_aux=True"),
        (lambda p, x: jnp.argmax(mlp_jax(p, x), -1, keepdims=True), TypeError, "output of model_fn must have leaves"),
    ],
)
def test_refuses_outputs_that_the_closed_form_does_not_take(model, error, words):
    with pytest.raises(error, match=words):
        ggn_product(model, PARAMS, VECTOR, X, jnp.ones((5, 3)), output_loss="squared_error")


def test_equals_the_dense_hessian_of_the_linearised_model(compiled_quickly):
    """The definition: the Hessian of the loss of the model's first-order expansion."""
    y = jnp.asarray(LABELS["bernoulli"])

    def expanded(p):
        f, slope = jax.jvp(lambda q: mlp_jax(q, X), (PARAMS,), (jax.tree.map(jnp.subtract, p, PARAMS),))
        return written_out("bernoulli", f + slope, y)

    matrix = dense_hessian(expanded, PARAMS)
    flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(VECTOR)])
    got = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(product("bernoulli", y))])
    assert_parity(got, matrix @ flat)


def test_many_vectors_in_float32_are_multiplied_as_one_is():
    """XLA for CPUs (jaxlib 0.10) fuses p * (u - sum(p * u)) wrongly, p one for many u of more than 32768 entries."""
    rng = np.random.default_rng(0)
    w, many, x = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((10, 8), (20, 10, 8), (256, 8)))

    def times(v):
        labels = jnp.zeros(256, jnp.int32)
        return ggn_product(lambda w, x: jnp.tanh(x @ w.T), w, v, x, labels, output_loss="softmax_cross_entropy")

    assert_parity(jax.jit(times)(many)[-1], jax.jit(times)(many[-1]), tolerance=1e-5)

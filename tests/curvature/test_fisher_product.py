"""`curvature.fisher_product` against sums of outer products in torch, its expectation, its laws, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.curvature
from jaxgrad import per_example
from jaxgrad.curvature import fisher_product, ggn_product
from jaxgrad.curvature._engine import _output_losses
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_torch
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import regression
from tests.turns import covering, one_in

PROBLEM = regression((3, 4, 3), batch=5)
PARAMS, X = PROBLEM.params, PROBLEM.data[0]
VECTOR = random_like(PARAMS, 1)
RNG = np.random.default_rng(7)
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 1.0])
LABELS = {
    "squared_error": RNG.normal(size=(5, 3)),
    "softmax_cross_entropy": np.arange(5) % 3,
    "bernoulli": (RNG.normal(size=(5, 3)) > 0).astype(float),
}


def product(name, *targets, vector=VECTOR, x=X, **options):
    return fisher_product(mlp_jax, PARAMS, vector, x, *map(jnp.asarray, targets), output_loss=name, **options)


def twin(name, *targets, x=PROBLEM.data_torch[0], **options):
    given = (mlp_torch, PROBLEM.params_torch, to_torch(VECTOR), x, *map(torch.as_tensor, targets))
    return torch_ref.curvature.fisher_product(*given, output_loss=name, **options)


def drawn(name, num_samples, key):
    """Return labels as the library draws them."""
    return _output_losses.of_outputs(name, mlp_jax(PARAMS, X), (jnp.asarray(LABELS[name]),)).draw(key, num_samples)


@pytest.mark.parametrize(("name", "kind"), covering(LABELS, ["exact", "empirical", "mc"]))
def test_matches_torch(name, kind, key, compiled_quickly):
    samples = drawn(name, 3, key) if kind == "mc" else None
    targets = (LABELS[name], WEIGHTS) if kind == "empirical" or name == "bernoulli" else (LABELS[name],)
    got = product(name, *targets, kind=kind, samples=samples)
    given = {} if samples is None else {"samples": torch.as_tensor(np.array(samples))}
    assert_parity(got, twin(name, *targets, kind=kind, **given))


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_several_positions_in_an_example_match_torch(kind, compiled_quickly):
    x, labels, weights = RNG.normal(size=(2, 3, 3)), RNG.integers(0, 3, (2, 3)), np.array([1.0, 3.0])
    got = product("softmax_cross_entropy", labels, weights, x=jnp.asarray(x), kind=kind)
    assert_parity(got, twin("softmax_cross_entropy", labels, weights, x=torch.as_tensor(x), kind=kind))


@pytest.mark.parametrize("kind", ["exact", "mc"])
def test_distributions_of_any_sum_match_torch(kind, key, compiled_quickly):
    """Each position counts as often as its distribution adds up to, by the loss's own Hessian too."""
    name, shares = "softmax_cross_entropy", np.exp(RNG.normal(size=(5, 3)))
    samples = drawn(name, 3, key) if kind == "mc" else None
    given = {} if samples is None else {"samples": torch.as_tensor(np.array(samples))}
    got = product(name, shares, kind=kind, samples=samples)
    assert_parity(got, twin(name, shares, kind=kind, **given))


def test_a_key_draws_the_samples_once(key, compiled_quickly):
    name = "softmax_cross_entropy"
    got = product(name, LABELS[name], kind="mc", key=key, num_samples=3)
    assert_parity(got, product(name, LABELS[name], kind="mc", samples=drawn(name, 3, key)))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, leaf]), VECTOR)
    several = product(name, LABELS[name], kind="mc", key=key, num_samples=3, vector=stacked, chunk=1)
    assert_parity(several, jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, leaf]), got))


@pytest.mark.parametrize("name", one_in(2, LABELS))
def test_exact_is_the_gauss_newton_matrix(name, compiled_quickly):
    targets = jnp.asarray(LABELS[name]), jnp.asarray(WEIGHTS)
    assert_parity(
        product(name, *targets), ggn_product(mlp_jax, PARAMS, VECTOR, X, *targets, output_loss=name), tolerance=0.0
    )


@pytest.mark.parametrize("name", one_in(2, LABELS, start=1))
def test_samples_have_the_exact_matrix_as_their_mean(name, key, compiled_quickly):
    """Of 20,000 labels the mean is within a few percent: the standard error of each entry is about a hundredth."""
    exact = product(name, LABELS[name])
    assert_parity(product(name, LABELS[name], kind="mc", key=key, num_samples=20_000), exact, tolerance=0.08)


def test_empirical_is_that_of_the_gradients_of_examples(compiled_quickly):
    labels = jnp.asarray(LABELS["softmax_cross_entropy"])

    def loss(p, x, y):
        return -jax.nn.log_softmax(mlp_jax(p, x[None])[0])[y]

    got = product("softmax_cross_entropy", labels, kind="empirical", full_output=True)
    assert_parity(got.product, per_example.empirical_fisher_product(loss, PARAMS, VECTOR, X, labels))
    assert_parity(got.value, jnp.mean(per_example.values(loss, PARAMS, X, labels)))


def test_no_array_of_examples_by_parameters_is_formed():
    wide = regression((3, 40, 3), batch=5)

    def shapes(kind):
        program = jax.make_jaxpr(
            lambda v: fisher_product(
                mlp_jax, wide.params, v, wide.data[0], jnp.arange(5) % 3, output_loss="softmax_cross_entropy", kind=kind
            )
        )(wide.params)
        return {var.aval.shape for eqn in program.jaxpr.eqns for var in eqn.outvars}

    assert not any(len(shape) == 3 or shape in {(5, 120), (5, 283)} for shape in shapes("empirical"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "sampled"}, "kind must be one of 'exact', 'mc', 'empirical'"),
        ({"kind": "mc"}, 'kind="mc" takes a key='),
        ({"kind": "mc", "key": jax.random.key(0), "samples": np.ones((2, 5, 3))}, "one of the two"),
        ({"kind": "exact", "num_samples": 2}, 'num_samples belongs to kind="mc"'),
        ({"kind": "mc", "samples": np.ones((2, 5, 3)), "num_samples": 2}, "leave num_samples out"),
        (
            {"kind": "mc", "samples": np.ones((5, 3))},
            r"samples must have the shape \[samples,5,3\]; got float64\[5,3\]",
        ),
        ({"kind": "mc", "key": jax.random.key(0), "num_samples": 0}, "num_samples must be at least 1"),
    ],
)
def test_refuses_samples_where_none_are_drawn(options, words):
    with pytest.raises(ValueError, match=words):
        product("squared_error", LABELS["squared_error"], **options)


def test_refuses_a_function_as_a_loss():
    with pytest.raises(TypeError, match="the distribution of labels is not known of a function"):
        fisher_product(mlp_jax, PARAMS, VECTOR, X, X, output_loss=lambda f, y: jnp.mean((f - y) ** 2))

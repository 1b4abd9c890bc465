"""`curvature.influence`: every pair of gradients in torch, and the derivative of refitting with other weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import torch_ref.curvature
from jaxgrad.curvature import influence, kfac, solve
from jaxgrad.per_example import empirical_fisher_product
from tests.bridge import assert_parity, to_jax
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in

PROBLEM = regression((3, 5, 2), batch=6)
X, Y = PROBLEM.data
TEST = X[:4] + 0.5, Y[:4]
TEST_TORCH = tuple(leaf[:4] + shift for leaf, shift in zip(PROBLEM.data_torch, (0.5, 0.0), strict=True))
SCALES = jax.tree.map(lambda leaf: jnp.asarray(np.linspace(1.0, 2.0, leaf.size).reshape(leaf.shape)), PROBLEM.params)


def scaled(tree):
    return jax.tree.map(jnp.multiply, tree, SCALES)


def scaled_torch(tree):
    return {
        name: {key: leaf * torch_of(SCALES[name][key]) for key, leaf in layer.items()} for name, layer in tree.items()
    }


def torch_of(leaf):
    from jaxgrad.verify._bridge import to_torch

    return to_torch(np.asarray(leaf))


@functools.cache
def plain(inverse=None):
    return influence(mean_square, PROBLEM.params, PROBLEM.data, TEST, inverse=inverse)


@pytest.mark.parametrize(("inverse", "twin"), [(None, None), (scaled, scaled_torch)])
def test_equals_every_pair_in_torch(inverse, twin):
    want = torch_ref.curvature.influence(
        mean_square_torch, PROBLEM.params_torch, PROBLEM.data_torch, TEST_TORCH, inverse=twin
    )
    assert want.shape == (4, 6)
    assert_parity(plain(inverse), want)


def ridge(w, x, y):
    return 0.5 * (x @ w - y) ** 2


def test_is_the_derivative_of_refitting_with_other_weights(compiled_quickly):
    """Ridge regression, whose refitted parameters are known for all weights."""
    rng, decay = np.random.default_rng(0), 0.3
    x, y, x_test, y_test = to_jax(tuple(rng.normal(size=shape) for shape in ((6, 3), (6,), (4, 3), (4,))))

    def refit(weights):
        curved = x.T @ (weights[:, None] * x) / 6 + decay * jnp.eye(3)
        return jnp.linalg.solve(curved, x.T @ (weights * y) / 6)

    def losses(weights):
        return jax.vmap(ridge, (None, 0, 0))(refit(weights), x_test, y_test)

    want = jax.jit(jax.jacobian(losses))(jnp.ones(6))
    fitted, hessian = refit(jnp.ones(6)), x.T @ x / 6 + decay * jnp.eye(3)
    got = influence(ridge, fitted, (x, y), (x_test, y_test), inverse=lambda v: jnp.linalg.solve(hessian, v))
    assert_parity(got, want)
    # parts of the training set, whose objective is that of all
    part = influence(
        ridge, fitted, (x[:2], y[:2]), (x_test, y_test), inverse=lambda v: jnp.linalg.solve(hessian, v), num_examples=6
    )
    assert_parity(part, want[:, :2])


def test_a_kronecker_curvature_is_inverted_with_damping(compiled_quickly):
    curved = kfac(mean_square, PROBLEM.params, X, Y)
    got = influence(mean_square, PROBLEM.params, PROBLEM.data, TEST, inverse=curved, damping=0.1)
    by_hand = influence(
        mean_square, PROBLEM.params, PROBLEM.data, TEST, inverse=lambda v: curved.inverse_product(v, 0.1)
    )
    assert_parity(got, by_hand)
    assert not np.allclose(got, plain())


def test_chunks_of_tests_change_nothing_and_a_part_of_the_leaves_adds_up():
    chunked = influence(mean_square, PROBLEM.params, PROBLEM.data, TEST, chunk=3)
    assert_parity(chunked, plain())
    parts = [influence(mean_square, PROBLEM.params, PROBLEM.data, TEST, wrt=f"layer{i}") for i in range(2)]
    assert_parity(parts[0] + parts[1], plain())


def with_a_solve(params, train, test, axis_name=None):
    fisher = functools.partial(empirical_fisher_product, mean_square, axis_name=axis_name)

    def inverse(vector):
        return solve(fisher, params, vector, *train, damping=0.5, tolerance=1e-13, max_products=60).solution

    return influence(mean_square, params, train, test, inverse=inverse, axis_name=axis_name)


@pytest.mark.parametrize("where", one_in(2, [P(), P("d")], 1))
def test_devices_have_the_columns_of_their_own_examples_and_the_rows_of_all_tests(where, compiled_quickly):
    """Tests that every device has, and tests that are spread; the curvature is that of all training examples."""
    problem = regression((3, 4), batch=8)
    x, y = problem.data
    test = x[:4] + 0.5, y[:4]
    spread = jax.shard_map(
        functools.partial(with_a_solve, axis_name="d"),
        mesh=jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=(P(), P("d"), where),
        out_specs=P(None, "d"),
    )
    got = jax.jit(spread)(problem.params, (x, y), test)
    assert_parity(got, with_a_solve(problem.params, (x, y), test), tolerance=1e-9)


@jax.custom_vjp
def reverse_only(x):
    return jnp.tanh(x)


reverse_only.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g / jnp.cosh(x) ** 2,))


def test_a_rule_for_the_reverse_alone_gives_the_same():
    w = jnp.linspace(-1.0, 1.0, 3)

    def loss(act):
        return lambda w, x: jnp.sum(act(w * x) ** 2)

    (one, two) = (influence(loss(act), w, (X,), (X[:2],)) for act in (reverse_only, jnp.tanh))
    assert_parity(one, two)


def test_no_gradient_of_a_training_example_is_formed():
    """Of 4096 examples they would take 4096 times 4096 numbers, 64 MiB."""
    w, x = jnp.ones((64, 64), jnp.float32), jnp.ones((4096, 64), jnp.float32)

    def loss(w, x):
        return jnp.sum(jnp.tanh(w @ x) ** 2)

    program = jax.jit(lambda w, x, t: influence(loss, w, (x,), (t,), chunk=1)).lower(w, x, x[:8]).compile()
    assert program.memory_analysis().temp_size_in_bytes < 12 * 2**20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": (X,)}, r"an example of test\[1\]: got nothing, expected float64\[1,2\]"),
        ({"test": (X, Y[:, :1])}, r"an example of test\[1\]: got float64\[1,1\], expected float64\[1,2\]"),
        ({"train": (X, Y[:3])}, r"train\[1\]: got float64\[3,2\]"),
        ({"test": (X[:0], Y[:0])}, "test is empty: its leading axis has length 0"),
        ({"train": (X[:0], Y[:0])}, "train is empty: its leading axis has length 0"),
        ({"damping": 0.1}, "put the damping into the function"),
        ({"damping": -0.1}, "damping must not be negative"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"num_examples": 0}, "num_examples must be at least 1"),
        ({"inverse": lambda tree: jax.tree.leaves(tree)}, r"inverse\(gradient\) must have the structure"),
    ],
)
def test_refusals(options, message):
    given = {"train": PROBLEM.data, "test": TEST} | options
    with pytest.raises(ValueError, match=message):
        influence(mean_square, PROBLEM.params, given.pop("train"), given.pop("test"), **given)


def test_what_is_no_inverse():
    with pytest.raises(TypeError, match="inverse must be a function of a tree"):
        influence(mean_square, PROBLEM.params, PROBLEM.data, TEST, inverse=jnp.ones(3))
    with pytest.raises(TypeError, match=r"train must be a tuple of what follows params in loss_fn; got float64\[6,3\]"):
        influence(mean_square, PROBLEM.params, X, TEST)

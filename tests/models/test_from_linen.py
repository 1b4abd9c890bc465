"""`from_linen` and `from_linen_with_state`: pure functions, explicit state, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.core import freeze

from jaxgrad import _tree, curvature, gradient, models, shift
from tests.bridge import assert_parity
from tests.turns import one_in

DENSE = functools.partial(nn.Dense, param_dtype=float)
X = jnp.asarray(np.arange(12.0).reshape(4, 3) / 10)


class Noisy(nn.Module):
    """A layer, batch normalisation and dropout; it also sows."""

    @nn.compact
    def __call__(self, x, train=False):
        x = DENSE(3)(x)
        self.sow("intermediates", "hidden", x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return nn.Dropout(0.5, deterministic=not train)(x)

    def double(self, x):
        return 2 * self(x)


@pytest.fixture(scope="module")
def variables():
    _, params, state = models.from_linen_with_state(Noisy(), X, key=jax.random.key(0))
    # linen makes the statistics in float32 whatever param_dtype says
    return jax.tree.map(lambda leaf: leaf.astype(float), {"params": params, **state})


def applied(variables, x):
    """Apply the module as Flax does."""
    with jax.numpy_dtype_promotion("standard"):
        return Noisy().apply(variables, x)


def test_is_the_module_itself(variables):
    apply_fn, params = models.from_linen(Noisy(), X, variables=variables)
    assert_parity(apply_fn(params, X), applied(variables, X), tolerance=0)
    assert set(params) == {"BatchNorm_0", "Dense_0"}
    assert apply_fn.__name__ == "apply_Noisy"


def test_initialises_with_a_key():
    apply_fn, params = models.from_linen(DENSE(2), X, key=jax.random.key(0))
    assert_parity(apply_fn(params, X), X @ params["kernel"] + params["bias"][None])


def test_params_are_plain_dictionaries_that_share_nothing(variables):
    frozen = freeze(variables)
    _, params = models.from_linen(Noisy(), variables=frozen)
    assert all(type(node) is dict for node in (params, *params.values()))
    params["Dense_0"]["kernel"] = None
    assert frozen["params"]["Dense_0"]["kernel"] is not None


def test_unboxes_partitioned_parameters():
    init = nn.with_partitioning(nn.initializers.ones, ("a", "b"))
    _, params = models.from_linen(DENSE(2, kernel_init=init), X, key=jax.random.key(0))
    assert isinstance(params["kernel"], jax.Array)


def test_applies_another_method_and_options(variables):
    by_name, params = models.from_linen(Noisy(), variables=variables, method="double")
    assert_parity(by_name(params, X), 2 * applied(variables, X))
    by_function, _ = models.from_linen(Noisy(), variables=variables, method=Noisy.double)
    assert_parity(by_function(params, X), by_name(params, X))


def test_evaluation_leaves_the_statistics_alone(variables):
    before = jax.tree.map(np.array, variables)
    apply_fn, params = models.from_linen(Noisy(), variables=variables)
    first = apply_fn(params, X)
    assert_parity(apply_fn(params, X), first, tolerance=0)
    assert_parity(variables, before, tolerance=0)


def test_the_weights_are_arguments_not_constants(variables):
    apply_fn, params = models.from_linen(Noisy(), variables=variables)
    jaxpr = jax.make_jaxpr(apply_fn)(params, X)
    kept = {constant.shape for constant in jaxpr.consts}
    assert params["Dense_0"]["kernel"].shape not in kept


def test_composes_and_traces_once(variables):
    apply_fn, params = models.from_linen(Noisy(), variables=variables)
    traces = []

    def loss(params, x):
        traces.append(1)
        return (apply_fn(params, x) ** 2).mean()

    curvature.hvp(loss, params, params, X)
    seen = len(traces)
    curvature.hvp(loss, params, jax.tree.map(jnp.ones_like, params), X + 1)
    assert len(traces) == seen
    rows = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, X[:, None])
    assert rows["Dense_0"]["kernel"].shape == (4, 3, 3)
    moved, _ = jax.lax.scan(lambda p, x: (jax.tree.map(jnp.subtract, p, jax.grad(loss)(p, x)), 0.0), params, X[:, None])
    assert jax.tree.structure(moved) == jax.tree.structure(params)


def test_state_goes_in_and_comes_out(variables):
    apply_fn, params, state = models.from_linen_with_state(Noisy(), variables=variables, train=True)
    output, after = apply_fn(params, state, X, rngs={"dropout": jax.random.key(1)})
    hidden = X @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
    assert set(after) == {"batch_stats"}
    assert_parity(after["batch_stats"]["BatchNorm_0"]["mean"], hidden.mean(0) / 2)
    assert_parity(state, {"batch_stats": variables["batch_stats"]}, tolerance=0)
    again, _ = apply_fn(params, state, X, rngs={"dropout": jax.random.key(2)})
    assert not np.allclose(output, again)
    quiet, same = apply_fn(params, state, X, train=False)
    assert_parity(quiet, applied(variables, X), tolerance=0)
    assert_parity(same, state, tolerance=0)


def test_statistics_come_out_of_sam_as_they_are_at_the_weights_that_are_kept(variables):
    apply_fn, params, state = models.from_linen_with_state(Noisy(), variables=variables, train=True)

    def loss(params, state, x, key):
        output, state = apply_fn(params, state, x, rngs={"dropout": key})
        return jnp.mean((output - 1) ** 2), (state, output)

    data = state, X, jax.random.key(1)
    (value, (after, output)), slope = shift.value_and_sam_gradient(loss, params, *data, has_aux=True, radius=2.0)
    want = loss(params, *data)
    assert_parity((value, (after, output)), want, dtypes=True)
    plain, _ = gradient.parameter_gradient(loss, params, *data, has_aux=True)
    move = _tree.scale(plain, 2.0 / _tree.norm(plain))
    want_slope, (elsewhere, _) = shift.gradient(loss, params, move, *data, has_aux=True, state="moved")
    assert_parity(slope, want_slope)
    _, (by_default, _) = shift.gradient(loss, params, move, *data, has_aux=True)
    assert_parity(by_default, after)
    mean, moved = (tree["batch_stats"]["BatchNorm_0"]["mean"] for tree in (after, elsewhere))
    assert not np.allclose(mean, moved, rtol=0, atol=1e-5)


def test_statistics_are_carried_through_a_loop_of_training(variables):
    """Five steps of SAM and optax in one program: the statistics are those of five forwards, one after the other."""
    apply_fn, params, state = models.from_linen_with_state(Noisy(), variables=variables, train=True)
    optimizer = optax.sgd(0.1)

    def loss(params, state, x, key):
        output, state = apply_fn(params, state, x, rngs={"dropout": key})
        return jnp.mean((output - 1) ** 2), state

    def step(carry, key):
        params, state, moments = carry
        slope, after = shift.sam_gradient(loss, params, state, X, key, has_aux=True, radius=0.05)
        updates, moments = optimizer.update(slope, moments, params)
        return (optax.apply_updates(params, updates), after, moments), loss(params, state, X, key)[1]

    (_, after, _), forwards = jax.lax.scan(
        step, (params, state, optimizer.init(params)), jax.random.split(jax.random.key(0), 5)
    )
    assert_parity(after, _tree.take(forwards, -1))
    assert not np.allclose(
        forwards["batch_stats"]["BatchNorm_0"]["mean"][0], after["batch_stats"]["BatchNorm_0"]["mean"]
    )


def test_state_may_be_empty():
    apply_fn, params, state = models.from_linen_with_state(DENSE(2), X, key=jax.random.key(0))
    output, after = apply_fn(params, state, X)
    assert state == after == {}
    assert output.shape == (4, 2)


@pytest.mark.parametrize("dtype", one_in(2, [jnp.float32, jnp.bfloat16], 1))
def test_keeps_the_dtype_of_the_parameters(dtype, variables):
    small = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
    apply_fn, params = models.from_linen(Noisy(), variables=small)
    x = X.astype(dtype)
    assert apply_fn(params, x).dtype == dtype
    gradient = jax.jit(jax.grad(lambda p: apply_fn(p, x).sum()))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(dtype)}


def test_rejects_training_mode(variables):
    with pytest.raises(ValueError, match=r'Noisy updates its state.*"mean".*from_linen_with_state'):
        models.from_linen(Noisy(), X, variables=variables, train=True)
    apply_fn, params = models.from_linen(Noisy(), variables=variables)
    with pytest.raises(ValueError, match="Noisy updates its state"):
        apply_fn(params, X, train=True)


class Dropped(nn.Module):
    """Dropout alone has no parameters; this has."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(DENSE(2)(x))


def test_rejects_dropout_without_a_key():
    with pytest.raises(ValueError, match=r'Dropped needs a random key.*from_linen_with_state.*rngs=\{"dropout": key\}'):
        models.from_linen(Dropped(), X, key=jax.random.key(0))
    apply_fn, params, state = models.from_linen_with_state(Dropped(), X, key=jax.random.key(0))
    with pytest.raises(ValueError, match="Dropped needs a random key"):
        apply_fn(params, state, X)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Dense, X), TypeError, "takes an instance of a linen module; got the class Dense: from_nnx"),
        ((nn.Dense(2), X), ValueError, "give key= to initialise Dense, or variables= that it has; got neither"),
        ((nn.Dropout(0.5, deterministic=True), X, 0), ValueError, "Dropout has no parameters"),
    ],
)
def test_rejects(arguments, error, message):
    module, x, *keyed = arguments
    with pytest.raises(error, match=message):
        models.from_linen(module, x, key=jax.random.key(0) if keyed else None)


def test_rejects_a_tree_that_lacks_a_leaf(variables):
    apply_fn, params = models.from_linen(Noisy(), variables=variables)
    wrong = {"Dense_0": params["Dense_0"], "Dense_1": params["Dense_0"]}
    with pytest.raises(ValueError, match=r"(?s)BatchNorm_0/bias is missing.*Dense_1/kernel is not a leaf"):
        apply_fn(wrong, X)

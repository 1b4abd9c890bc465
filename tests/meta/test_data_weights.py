"""`data_weights_gradient` against torch, retraining and closed forms; how it reads examples; what it refuses."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import torch_ref.meta
from jaxgrad.meta import data_weights_gradient
from jaxgrad.meta._engine._memory import MODES
from tests.bridge import assert_parity, to_jax, to_torch
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH
from tests.problems import mean_square, mean_square_torch

pytestmark = pytest.mark.either_lane

SGD = OPTIMIZERS["sgd"][0]
ORDER = np.array([[0, 1, 2], [3, -1, 0], [4, 4, 5], [-1, -1, -1], [1, 2, -1], [5, 0, 3], [2, 2, 2]])
"""Every row a step: empty places, one step without an example, and examples that stand there twice."""
_rng = np.random.default_rng(1)
_examples = tuple(np.concatenate([leaf, leaf[4:5]]) for leaf in (_rng.normal(size=(6, 2)), _rng.normal(size=(6, 1))))
"""Six, and the fifth once more, which no step asks for."""
_validation = _rng.normal(size=(4, 2)), _rng.normal(size=(4, 1))
_weights = _rng.uniform(0.5, 1.5, 7)
EXAMPLES, VALIDATION, WEIGHTS = to_jax((_examples, _validation, _weights))
EXAMPLES_TORCH, VALIDATION_TORCH, WEIGHTS_TORCH = to_torch((_examples, _validation, _weights))


def of_weights(weights=WEIGHTS, order=ORDER, examples=EXAMPLES, optimizer=SGD, **options):
    """Return all of the little problem, changed in one place; most tests share one program."""
    given = mean_square, PARAMS, examples, order, VALIDATION
    return data_weights_gradient(*given, optimizer=optimizer, weights=weights, full_output=True, **options)


@pytest.mark.parametrize("name", ["sgd", "adam", pytest.param("momentum", marks=pytest.mark.slow)])
def test_matches_torch(name):
    ours, theirs = OPTIMIZERS[name]
    given = mean_square_torch, PARAMS_TORCH, EXAMPLES_TORCH, ORDER, VALIDATION_TORCH
    want = torch_ref.meta.data_weights_gradient(*given, optimizer=theirs, weights=WEIGHTS_TORCH)
    assert_parity(of_weights(optimizer=ours).gradient, want)


def test_another_validation_loss_and_no_weights_match_torch():
    given = EXAMPLES, ORDER[:3], VALIDATION[0]
    got = data_weights_gradient(mean_square, PARAMS, *given, optimizer=SGD, validation_loss=spread)
    given = EXAMPLES_TORCH, ORDER[:3], VALIDATION_TORCH[0]
    options = {"optimizer": OPTIMIZERS["sgd"][1], "validation_loss": spread}
    assert_parity(got, torch_ref.meta.data_weights_gradient(mean_square_torch, PARAMS_TORCH, *given, **options))


def spread(params, x):
    """Return a loss of another kind, which both frameworks read."""
    return ((x @ params["layer0"]["weight"].T) ** 2).sum()


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("sgd", "nested"),
        *(pytest.param("sgd", memory, marks=pytest.mark.slow) for memory in ("unrolled", "checkpoint", "mixed-mode")),
        *(pytest.param("adam", memory, marks=pytest.mark.slow) for memory in MODES),
    ],
)
def test_every_memory_gives_the_same(name, memory):
    optimizer = OPTIMIZERS[name][0]
    assert_parity(of_weights(optimizer=optimizer, memory=memory), of_weights(optimizer=optimizer))


def test_is_the_slope_of_the_validation_loss():
    """Of the whole answer, by central differences of the value that stands beside it."""
    along = jnp.asarray(_rng.normal(size=7))
    up, down = (of_weights(WEIGHTS + h * along).validation_loss for h in (1e-4, -1e-4))
    np.testing.assert_allclose((up - down) / 2e-4, of_weights().gradient @ along, rtol=1e-6)


@pytest.mark.slow
def test_without_the_rest_it_is_the_same_gradient():
    given = mean_square, PARAMS, EXAMPLES, ORDER, VALIDATION
    assert_parity(data_weights_gradient(*given, optimizer=SGD, weights=WEIGHTS), of_weights().gradient, tolerance=0.0)


def test_what_stands_beside_the_gradient():
    found, params, losses = of_weights(), PARAMS, []

    @jax.jit
    @jax.value_and_grad
    def objective(params, places):
        own = jax.vmap(lambda *one: mean_square(params, *one))(*(leaf[places] for leaf in EXAMPLES))
        filled = (places >= 0).astype(own.dtype)
        return jnp.sum(WEIGHTS[places] * own * filled) / jnp.maximum(filled.sum(), 1)

    for places in jnp.asarray(ORDER):
        value, slope = objective(params, places)
        params, losses = jax.tree.map(lambda w, g: w - 0.1 * g, params, slope), [*losses, value]
    assert_parity((found.params, found.losses), (params, jnp.stack(losses)))
    assert_parity(found.validation_loss, mean_square(params, *VALIDATION))
    assert found.diverged_at == -1


def test_closed_form_at_weights_of_zero():
    """Nothing moves, and the derivative is that of one step from the start for each time an example is seen."""

    @jax.jit
    def products(params):
        slope = jax.grad(mean_square)(params, *VALIDATION)

        def along_it(*one):
            return jax.jvp(lambda params: mean_square(params, *one), (params,), (slope,))[1]

        return jax.vmap(along_it)(*EXAMPLES)

    shares = sum(np.bincount(row[row >= 0], minlength=7) / max((row >= 0).sum(), 1) for row in ORDER)
    assert_parity(of_weights(jnp.zeros(7)).gradient, -0.1 * shares * products(PARAMS))


def test_an_example_counts_as_often_as_it_stands_there():
    order = np.where((np.arange(7)[:, None] == 2) & (np.arange(3) == 1), 6, ORDER)
    weights = WEIGHTS.at[6].set(WEIGHTS[4])
    twice, apart = of_weights(weights).gradient, of_weights(weights, order).gradient
    assert_parity(twice, apart.at[4].add(apart[6]).at[6].set(0.0))


def test_the_order_counts():
    assert jnp.abs(of_weights().gradient - of_weights(order=ORDER[::-1].copy()).gradient).max() > 1e-4


def test_an_example_that_is_not_asked_for_is_not_read():
    broken = tuple(leaf.at[6].set(jnp.nan) for leaf in EXAMPLES)
    assert_parity(of_weights(examples=broken), of_weights(), tolerance=0.0)
    assert of_weights().gradient[6] == 0


@pytest.mark.slow
def test_no_steps_leave_the_parameters_alone():
    found = of_weights(order=ORDER[:0])
    assert_parity((found.gradient, found.params), (jnp.zeros(7), PARAMS), tolerance=0.0)
    assert found.diverged_at == -1


@pytest.mark.slow
def test_only_the_chosen_leaves_are_trained():
    found = of_weights(inner_wrt="layer1")
    assert_parity(found.params["layer0"], PARAMS["layer0"], tolerance=0.0)
    given = held, PARAMS["layer1"], EXAMPLES, ORDER, VALIDATION
    assert_parity(found.gradient, data_weights_gradient(*given, optimizer=SGD, weights=WEIGHTS))


def held(head, *one):
    return mean_square({**PARAMS, "layer1": head}, *one)


def test_the_weights_of_losses_in_16_bits_are_kept_in_32():
    """Thousands of small numbers are added up by them."""
    params, examples, validation = to_jax((PARAMS, EXAMPLES, VALIDATION), jnp.bfloat16)
    got = data_weights_gradient(mean_square, params, examples, ORDER, validation, optimizer=SGD)
    assert got.dtype == jnp.float32
    want = of_weights(jnp.ones(7)).gradient.astype(got.dtype)
    assert jnp.linalg.norm(got - want) < 0.05 * jnp.linalg.norm(want)


# ----- retraining


def logistic(params, x, y):
    return jnp.logaddexp(0.0, -y * (x @ params["w"]))


@functools.cache
def logistic_regression():
    """Return data with noisy labels, and the derivatives by the weights through training to the minimum."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) + 0.5
    y = np.where(x @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=60) > 0, 1.0, -1.0)
    train, test = (x[:40], y[:40]), (x[40:], y[40:])
    # the ridge, in the optimizer, is no example's: no weight multiplies it
    ridge = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0))
    order = np.tile(np.arange(40), (200, 1))
    return train, test, data_weights_gradient(logistic, {"w": jnp.zeros(3)}, train, order, test, optimizer=ridge)


def retrained(weights):
    """Return the validation loss at the minimum of the weighted objective, by Newton's method in NumPy."""
    (x, y), test, _ = logistic_regression()
    w = np.zeros(3)
    for _ in range(20):
        chance = 1 / (1 + np.exp(y * (x @ w)))
        slope = -(weights * y * chance) @ x / 40 + 0.1 * w
        w = w - np.linalg.solve((x.T * (weights * chance * (1 - chance))) @ x / 40 + 0.1 * np.eye(3), slope)
    return np.logaddexp(0, -test[1] * (test[0] @ w)).mean()


def test_is_the_slope_of_retraining():
    moves = 1e-4 * np.eye(40)
    slopes = [(retrained(1 + move) - retrained(1 - move)) / 2e-4 for move in moves]
    np.testing.assert_allclose(logistic_regression()[2], slopes, rtol=1e-5, atol=1e-9)


def test_foretells_what_leaving_an_example_out_does():
    left_out = np.array([retrained(1.0 - row) for row in np.eye(40)]) - retrained(np.ones(40))
    foretold = -np.asarray(logistic_regression()[2])
    assert np.corrcoef(left_out, foretold)[0, 1] > 0.99
    # what is left is of second order in 1/40 of the curvature
    assert np.linalg.norm(left_out - foretold) < 0.15 * np.linalg.norm(foretold)


# ----- how examples are read


def compiled(memory, order, examples, params):
    given = params, examples, order, jnp.ones(len(examples[0]))

    def call(params, examples, order, weights):
        validation = tuple(leaf[:3] for leaf in examples)
        options = {"optimizer": optax.sgd(0.1, momentum=0.9), "weights": weights, "memory": memory}
        return data_weights_gradient(mean_square, params, examples, order, validation, **options)

    return jax.jit(call), given


@pytest.mark.parametrize("memory", ["nested", "mixed-mode", pytest.param("checkpoint", marks=pytest.mark.slow)])
def test_no_batch_is_kept(memory):
    """Neither the batches of all steps, nor a cotangent of the examples, nor one of the weights for each step."""
    order = jnp.asarray(np.random.default_rng(0).integers(0, 17, (101, 7)))
    examples, params = (jnp.ones((17, 13)), jnp.ones((17, 1))), {"layer0": {"weight": jnp.ones((1, 13))}}
    params["layer0"]["bias"] = jnp.ones(1)
    call, given = compiled(memory, order, examples, params)
    text = str(jax.make_jaxpr(call)(*given))
    added_to = set(re.findall(r"(f64\[[\d,]*\])(?:\{[^}]*\})? = scatter-add", text))
    assert added_to == {"f64[17]"}
    for stacked in ("101,7,13", "101,17", "101,7,1"):
        assert f"f64[{stacked}]" not in text
    unrolled, given = compiled("unrolled", order, examples, params)
    assert "f64[101,7,13]" in str(jax.make_jaxpr(unrolled)(*given)), "this test would not see a kept batch"


@pytest.mark.slow
def test_a_thousand_steps_fit_into_a_tenth_of_a_scan(compiled_fully):
    rng = np.random.default_rng(0)
    order = jnp.asarray(np.stack([rng.permutation(1000)[:50] for _ in range(1000)]))
    params = {
        "layer0": {"weight": jnp.ones((16, 64)), "bias": jnp.ones(16)},
        "layer1": {"weight": jnp.ones((10, 16)), "bias": jnp.ones(10)},
    }
    examples = jnp.asarray(rng.normal(size=(1000, 64))), jnp.asarray(rng.normal(size=(1000, 10)))

    def temporaries(memory):
        call, given = compiled(memory, order, examples, params)
        return call.lower(*given).compile().memory_analysis().temp_size_in_bytes

    assert temporaries("nested") < 0.03 * temporaries("unrolled")


# ----- what is refused


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        (np.array([[0, 7]]), ValueError, r"indices\[0, 1\] is 7, which is no example: there are 7, from 0 to 6"),
        (jnp.array([[0, 1], [-2, 0]]), ValueError, r"indices\[1, 0\] is -2.*write -1 for an empty place"),
        (np.array([[0.0, 1.0]]), TypeError, r"indices must be an array of integers.*got float64\[1,2\]"),
        (np.array([[True, False]]), TypeError, r"indices must be an array of integers.*got bool\[1,2\]"),
        (np.array([0, 1]), ValueError, r"of shape \(num_steps, batch\).*got int64\[2\]"),
        (np.zeros((2, 0), int), ValueError, r"batch at least 1; got int64\[2,0\]"),
        ([[0, 1]], TypeError, r"indices must be an array of integers.*got a list"),
    ],
)
def test_rejects_indices(order, error, message):
    with pytest.raises(error, match=message):
        of_weights(order=order)


@pytest.mark.parametrize("kind", ["uint8", pytest.param("int8", marks=pytest.mark.slow)])
def test_indices_of_few_bits_are_the_places_that_they_say(kind):
    order = np.where(ORDER < 0, 0, ORDER)
    assert_parity(of_weights(order=order.astype(kind)).gradient, of_weights(order=order).gradient)


@pytest.mark.slow
def test_an_index_outside_of_the_examples_names_its_step_where_it_is_traced():
    found = jax.jit(lambda order: of_weights(order=order))(np.where(ORDER == 5, 7, ORDER))
    assert jnp.isnan(found.gradient).all()
    assert found.diverged_at == 2


def linear(params, x):
    """Return a loss whose slope forgets the parameters: NaN in them does not come through it."""
    return params["w"] * x


def test_an_index_outside_of_the_examples_gives_nan_where_it_is_traced():
    given = linear, {"w": jnp.array(0.0)}, (jnp.ones(3),)
    call = jax.jit(lambda order: data_weights_gradient(*given, order, (jnp.ones(2),), optimizer=SGD))
    assert_parity(call(np.array([[0, 2], [1, 2]])), jnp.array([-0.05, -0.05, -0.1]))
    assert jnp.isnan(call(np.array([[0, 3], [1, 2]]))).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": np.ones(5)}, ValueError, r"weights must be one number for each of the 7.*got float64\[5\]"),
        ({"weights": np.ones(7, int)}, TypeError, r"weights.*floating-point[\s\S]*int64\[7\]"),
        ({"examples": (EXAMPLES[0], EXAMPLES[1][:4])}, ValueError, r"same leading axis[\s\S]*examples\[1\]: got"),
        ({"examples": list(EXAMPLES)}, TypeError, r"examples and validation must be tuples, \(x, y\)"),
        ({"validation_loss": lambda p, *_: jnp.sum(PARAMS["layer0"]["bias"])}, ValueError, "the validation loss does"),
        ({"validation_loss": lambda p, x, y: x @ p["layer0"]["weight"].T}, ValueError, "validation_loss must return a"),
        ({"inner_wrt": "head"}, ValueError, "'head' selects no leaf"),
        ({"memory": "all"}, ValueError, "memory must be one of"),
        ({"optimizer": 0.1}, TypeError, "optimizer must be an optax transformation"),
    ],
)
def test_rejects(options, error, message):
    with pytest.raises(error, match=message):
        of_weights(**options)


def test_rejects_no_examples():
    with pytest.raises(ValueError, match="there are no examples"):
        of_weights(None, np.full((1, 1), -1), tuple(leaf[:0] for leaf in EXAMPLES))

"""Slips of the pen, in every public function: each gets one sentence that says what to write."""

import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen

from jaxgrad import _jit, curvature, gradient, inr, meta, multi_loss, nth, per_example, shift
from tests.contract.house import is_function, public_functions
from tests.contract.test_bad_inputs import OF_A_LOSS, W, X, loss, refusal

pytestmark = pytest.mark.either_lane

OF_ITS_OWN = (
    "curvature.gauss_newton",
    "nth.register_rule",
    "per_example.dp_aggregate",
    "curvature.stack_batches",
    "curvature.weighted_loss",
    "shift.ivon",
    "shift.sam_transform",
)
"""What takes no parameters, or takes them later; its own tests tell."""
FUNCTIONS = {name: thing for name, thing in public_functions().items() if is_function(thing) and name not in OF_ITS_OWN}
FIRST = {name: next(iter(inspect.signature(thing).parameters), "") for name, thing in FUNCTIONS.items()}
OF_A_FUNCTION = {name for name, first in FIRST.items() if first in _jit.FUNCTIONS}
WITH_WRT = {name for name, thing in FUNCTIONS.items() if "wrt" in inspect.signature(thing).parameters}
SAMPLED = {"kind": "mc", "output_loss": "squared_error"}
EVOLVED = {"optimizer": optax.sgd(0.1), "num_steps": 1, "scale": 0.1}
HESSIAN = functools.partial(curvature.hvp, loss)
WITH_KEY = {
    "multi_loss.graddrop": lambda key: multi_loss.graddrop({"w": X}, key=key),
    "multi_loss.pcgrad": lambda key: multi_loss.pcgrad(X, key=key),
    "multi_loss.random_weights": lambda key: multi_loss.random_weights(X, key=key),
    "curvature.diagonal": lambda key: curvature.diagonal(HESSIAN, W, X, key=key),
    "curvature.eigenpairs": lambda key: curvature.eigenpairs(HESSIAN, W, X, k=1, key=key),
    "curvature.log_determinant": lambda key: curvature.log_determinant(HESSIAN, W, X, damping=1.0, key=key),
    "curvature.nystrom": lambda key: curvature.nystrom(HESSIAN, W, X, rank=2, key=key),
    "curvature.spectral_density": lambda key: curvature.spectral_density(HESSIAN, W, X, key=key),
    "curvature.trace": lambda key: curvature.trace(HESSIAN, W, X, key=key),
    "curvature.fisher_product": lambda key: curvature.fisher_product(
        lambda p, x: x * p["w"][None], W, W, X, X, output_loss="squared_error", kind="mc", key=key
    ),
    "curvature.ekfac": lambda key: curvature.ekfac(linear, W, X, X[:, 0], key=key, **SAMPLED),
    "curvature.kfac": lambda key: curvature.kfac(linear, W, X, X[:, 0], key=key, **SAMPLED),
    "inr.sample_by_error": lambda key: inr.sample_by_error(key, X[0], 2),
    "inr.sample_points": lambda key: inr.sample_points(key, 2, method="uniform", shape=(2, 2)),
    "meta.evolution_gradient": lambda key: meta.evolution_gradient(
        lambda p, h, x: loss(p, x), lambda p, h, x: loss(p, x), W, W, X, X, key=key, num_samples=2, **EVOLVED
    ),
    "nth.stochastic_operator": lambda key: nth.stochastic_operator(loss, X[0], key=key, num_samples=2),
    "per_example.random_projection": lambda key: per_example.random_projection(loss, W, X, key=key, dim=2),
    "shift.evolution_gradient": lambda key: shift.evolution_gradient(
        loss, W, None, X, key=key, num_samples=2, scale=0.1
    ),
    "shift.expected_gradient": lambda key: shift.expected_gradient(loss, W, None, X, key=key, num_samples=2),
    "shift.low_rank_shifts": lambda key: shift.low_rank_shifts(loss, W, X, key=key, num_shifts=2, rank=1),
    "shift.score_function_gradient": lambda key: shift.score_function_gradient(
        loss, W, None, X, key=key, num_samples=2, scale=0.1
    ),
    "shift.random_shifts": lambda key: shift.random_shifts(W, key=key, num_shifts=2),
}


def linear(params, x):
    """The model of one example."""
    return x @ params["w"]


def required(name, *given):
    """Return keyword arguments for what a function asks for beyond the positional ones."""
    known = {
        "optimizer": optax.sgd(0.1), "num_steps": 1, "radius": 0.1, "learning_rate": 0.1, "clip_norm": 1.0,
        "touches": ["w", "w"], "key": jax.random.key(0), "num_samples": 2, "dim": 2, "weights": jnp.ones(2),
        "k": 1, "damping": 1.0, "strength": 1.0, "prior_precision": 1.0, "num_examples": 2, "window": 1, "scale": 0.1,
        "output_loss": "squared_error", "num_shifts": 2, "rank": 1,
    }  # fmt: skip
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    return {p.name: known[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def positional(name):
    """Return how many arguments a function takes by position, without the data."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    return sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)


def test_the_tables_are_whole():
    assert len(OF_A_FUNCTION) > 40
    asks = {name for name, thing in FUNCTIONS.items() if "key" in inspect.signature(thing).parameters}
    assert asks == set(WITH_KEY)
    assert {*OF_A_LOSS, "gradient.jacobian", "gradient.hessian", "multi_loss.init_states"} >= WITH_WRT


@pytest.mark.parametrize("name", sorted(OF_A_FUNCTION))
def test_the_function_and_params_are_swapped(name):
    given = [W, loss, *[X] * (positional(name) - 2)]
    error = refusal(lambda: FUNCTIONS[name](*given, **required(name)))
    second = list(inspect.signature(FUNCTIONS[name]).parameters)[1]
    assert re.search(rf"{FIRST[name]} must be a function; got a dict.*{second} is one: swap them", str(error))
    with pytest.raises(TypeError, match="must be a function; got a dict"):
        jax.jit(lambda p: FUNCTIONS[name](p, *given[1:], **required(name)))(W)


@pytest.mark.parametrize("name", sorted(OF_A_FUNCTION))
def test_a_linen_module_as_a_loss(name):
    given = [linen.Dense(1), W, *[X] * (positional(name) - 2)]
    error = refusal(lambda: FUNCTIONS[name](*given, **required(name)))
    assert re.search(rf"{FIRST[name]} is a linen module.*models.from_linen", str(error))


def test_a_linen_module_with_its_variables_is_a_function():
    module = linen.Dense(2, param_dtype=jnp.float64)
    bound = module.bind(module.init(jax.random.key(0), X))
    assert nth.divergence(bound, X[0]).shape == ()


@pytest.mark.parametrize("name", sorted(WITH_WRT & {*OF_A_LOSS}))
@pytest.mark.parametrize("wrt", [0, (0, 1), ["w", 0]])
def test_wrt_by_number(name, wrt, monkeypatch):
    family, function = name.split(".")
    original = FUNCTIONS[name]
    module = sys.modules[f"jaxgrad.{family}"]
    monkeypatch.setattr(module, function, lambda *args, **options: original(*args, **{**options, "wrt": wrt}))
    error = refusal(lambda: OF_A_LOSS[name](loss, W))
    assert isinstance(error, TypeError)
    assert re.search(r"wrt=.* must be patterns on the paths of params.*the leaves are w", str(error)), error


@pytest.mark.parametrize("name", WITH_KEY)
@pytest.mark.parametrize("key", [0, jnp.int32(0).__array__()[()]])
def test_a_number_for_a_key(name, key):
    error = refusal(lambda: WITH_KEY[name](key))
    assert re.search(r"key must be one random key, such as jax.random.key\(0\); got ", str(error)), error


def rowwise(params, x, y):
    """The loss of one task: examples along the leading axis of x and y."""
    return jnp.mean((x[:, 0] * params["w"][0] - y[:]) ** 2)


META = ["first_order_gradient", "value_and_first_order_gradient", "maml_gradient", "value_and_maml_gradient"]


@pytest.mark.parametrize("name", META)
@pytest.mark.parametrize("num_steps", [0, 1])
def test_tasks_without_their_axis(name, num_steps):
    one, rule = (X, jnp.ones(2)), {"optimizer": optax.sgd(0.1), "num_steps": num_steps}
    with pytest.raises(ValueError, match=r"look like one batch each.*fails on task\[0\]: float64\[2\], task\[1\]"):
        getattr(meta, name)(rowwise, W, one, one, **rule)
    tasks = jax.tree.map(lambda leaf: leaf[None], one)
    assert jax.tree.leaves(getattr(meta, name)(rowwise, W, tasks, tasks, **rule))


def test_an_error_of_a_loss_of_tasks_that_have_their_axis_is_its_own():
    def fails(params, x):
        message = "the user's own"
        raise KeyError(message)

    tasks = (X[None],)
    with pytest.raises(KeyError, match="the user's own") as caught:
        meta.maml_gradient(fails, W, tasks, tasks, optimizer=optax.sgd(0.1), num_steps=1)
    assert any("takes ONE task" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", [*META, "adapt"])
def test_a_list_where_a_tuple_is_meant(name):
    task = [X, jnp.ones(2)] if name == "adapt" else [X[None], jnp.ones((1, 2))]
    given = (task,) if name == "adapt" else (task, task)
    with pytest.raises(TypeError, match=r"must be tuples, \(x, y\).*a list is handed on as ONE argument"):
        getattr(meta, name)(rowwise, W, *given, optimizer=optax.sgd(0.1), num_steps=1)
    whole = getattr(meta, name)(lambda p, pair: rowwise(p, *pair), W, *given, optimizer=optax.sgd(0.1), num_steps=1)
    assert jax.tree.leaves(whole)


@jax.custom_jvp
def ruled(x):
    return x**2


@ruled.defjvp
def rule_of_ruled(primals, tangents):
    raise AssertionError  # as a bare assert does, where pytest does not rewrite it


@pytest.mark.parametrize(
    "call",
    [
        lambda f: curvature.hvp(f, W, W),
        lambda f: gradient.parameter_gradient(f, W),
        lambda f: jax.jit(lambda p: gradient.parameter_gradient(f, p))(W),
    ],
)
def test_an_assertion_without_a_word_in_a_rule(call):
    with pytest.raises(
        AssertionError, match=r"without a message failed in or below rule_of_ruled \(.*test_mistakes.py:\d+\)"
    ):
        call(lambda p: jnp.sum(ruled(p["w"])))


def test_an_assertion_with_a_word_keeps_it():
    def fails(params):
        assert params is None, "the user's own"

    with pytest.raises(AssertionError, match=r"^the user's own"):
        gradient.parameter_gradient(fails, W)


SCRIPT = """
import traceback, jax, jax.numpy as jnp
from jaxgrad import gradient, nth, per_example

def broken_loss(params, x):
    raise RuntimeError("mine")

W, X = {"w": jnp.ones(2)}, jnp.ones((2, 2))
for call in (
    lambda: gradient.parameter_gradient(broken_loss, W, X),
    lambda: per_example.norms(broken_loss, W, X),
    lambda: nth.laplacian(lambda x: broken_loss(W, x), X[0]),
    lambda: jax.jit(lambda p: gradient.parameter_gradient(broken_loss, p, X))(W),
    lambda: gradient.parameter_gradient(lambda p, x: jnp.ones(2), W, X),
    lambda: gradient.descent_step(broken_loss, W, X, learning_rate=-1.0),
):
    try:
        call()
    except Exception:
        print(traceback.format_exc(), "=====")
"""


@pytest.mark.parametrize("filtering", ["auto", "off"])
def test_tracebacks_hold_frames_of_the_user(tmp_path, filtering):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    environment = {"PATH": "", "PYTHONPATH": str(root), "JAX_TRACEBACK_FILTERING": filtering, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, env=environment)
    traces = done.stdout.split("=====")[:-1]
    assert len(traces) == 6
    assert all("in broken_loss" in trace for trace in traces[:4])
    assert all(f"{root / 'jaxgrad'}" not in trace for trace in traces) == (filtering == "auto"), done.stdout
    assert all(str(path) in trace for trace in traces)

"""`_jit.jit`: what is compiled once, what is kept, what is refused, and what a message says."""

import functools
import gc
import threading
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx

from jaxgrad import _jit
from jaxgrad._jit import jit

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@jit(positive=("width",))
def divided(x, width):
    return x / width


def test_what_must_be_positive():
    assert divided(jnp.ones(()), 2.0) == 0.5
    for wrong, words in ((0, "be positive; got 0"), (np.float32(0), "be positive"), (-1.0, "not be negative or NaN")):
        with pytest.raises(ValueError, match=f"width must {words}"):
            divided(jnp.ones(()), wrong)
    assert divided(jnp.ones(()), width=jnp.zeros(())) == jnp.inf


@jit("fun", "power", non_negative=("radius",))
def apply(fun, x, *data, power=1, radius=1.0):
    """A public function in small: a static function, a static option, a number that must not be negative."""
    return fun(x, *data) ** power * radius


def double(x, *data):
    return 2 * x


def counted():
    """Return a function and the list of its traces."""
    traces = []

    def fun(x):
        traces.append(1)
        return x + 1

    return fun, traces


def test_traces_once_per_function_option_and_shape():
    fun, traces = counted()
    for _ in range(3):
        apply(fun, jnp.ones(2))
    assert len(traces) == 1
    apply(fun, jnp.ones(2), power=2)
    apply(fun, jnp.ones(3))
    assert len(traces) == 3


def test_traces_without_a_call_what_the_call_runs():
    fun, traces = counted()
    compiled = apply.trace(fun, jnp.ones(2), power=2, radius=3.0).lower().compile()
    assert len(traces) == 1
    np.testing.assert_array_equal(compiled(jnp.ones(2), radius=3.0), [12.0, 12.0])
    np.testing.assert_array_equal(apply(fun, jnp.ones(2), power=2, radius=3.0), [12.0, 12.0])
    assert len(traces) == 1, "the call finds what has been traced"
    with pytest.raises(TypeError, match="x is"):
        apply.trace(fun, "text")


def test_static_values_of_another_type_are_another_program():
    assert apply(double, jnp.ones(()), power=2) == 4
    assert apply(double, jnp.ones(()), power=np.int64(2)) == 4
    assert apply(double, jnp.ones(()), power=-1.0) == 0.5
    assert apply(double, jnp.ones(()), power=True) == 2


def test_text_is_fine_in_a_static_argument_and_refused_in_the_others():
    assert apply(double, jnp.ones(()), power=1, radius=2.0) == 4
    labelled = jit("labels")(lambda x, labels: x * len(labels))
    assert labelled(jnp.ones(()), ["a", ("b", "c")]) == 2
    with pytest.raises(TypeError, match=r"data\[0\] is the string 'mean', not an array"):
        apply(double, jnp.ones(()), "mean")


def test_a_partial_is_known_by_its_parts():
    fun, traces = counted()
    for _ in range(3):
        apply(functools.partial(fun), jnp.ones(2))
    assert len(traces) == 1


class Model:
    """A model whose instances have no hash, as modules with list attributes do."""

    __hash__ = None

    def __init__(self, factor):
        self.factor = factor
        self.traces = 0

    def loss(self, x):
        self.traces += 1
        return self.factor * x


def test_a_bound_method_is_known_by_its_object():
    model, other = Model(2.0), Model(3.0)
    for _ in range(3):
        assert apply(model.loss, jnp.ones(())) == 2
        assert apply(other.loss, jnp.ones(())) == 3
    assert model.traces == other.traces == 1


@jit("optimizer")
def first_update(params, *, optimizer):
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    return updates


def test_an_optimizer_is_known_by_its_functions():
    optimizer = optax.sgd(0.1)
    rebuilt = optax.GradientTransformation(optimizer.init, optimizer.update)
    first_update(jnp.ones(2), optimizer=optimizer)
    with jax.no_tracing(True):
        first_update(jnp.ones(2), optimizer=type(optimizer)(optimizer.init, optimizer.update))
    assert len(first_update.programs) == 1
    first_update(jnp.ones(2), optimizer=rebuilt)


@pytest.mark.parametrize(
    "build",
    [
        lambda: optax.sgd(0.2, momentum=0.9),
        lambda: optax.adamw(optax.cosine_decay_schedule(1e-3, 10)),
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
        lambda: optax.masked(optax.sgd(0.1), lambda params: jax.tree.map(lambda leaf: leaf.ndim > 0, params)),
    ],
)
def test_optimizers_that_are_built_alike_share_a_program(build):
    with jax.numpy_dtype_promotion("standard"):
        first = first_update(jnp.ones(2), optimizer=build())
        with jax.no_tracing(True):
            again = first_update(jnp.ones(2), optimizer=build())
    assert again.tolist() == first.tolist()


def test_optimizers_that_differ_in_a_number_or_an_array_do_not_share_a_program():
    def by(rate):
        return optax.GradientTransformation(lambda params: (), lambda updates, *_: (updates * rate, ()))

    for rate in (0.1, 0.2, np.array(0.3), np.array(0.4), jnp.array(0.5), jnp.array(0.6)):
        assert first_update(jnp.ones(2), optimizer=by(rate)).tolist() == [float(rate)] * 2
    deep = [by(scale) for scale in (0.7, 0.8)]
    wrapped = [optax.chain(rule, optax.scale(1.0)) for rule in deep]
    assert [first_update(jnp.ones(1), optimizer=rule).item() for rule in wrapped] == [0.7, 0.8]


def test_many_optimizers_of_one_kind_are_no_loop_of_the_callers():
    for i in range(20):
        first_update(jnp.ones(2), optimizer=optax.sgd(0.01 * (i + 1)))


def test_an_optimizer_that_closes_over_itself():
    def build(rate):
        def update(updates, state, params=None, steps=1):
            again = functools.partial(update, steps=0) if steps else None
            return again(updates * rate, state) if again else (updates, state)

        return optax.GradientTransformation(lambda params: (), update)

    assert [first_update(jnp.ones(1), optimizer=build(rate)).item() for rate in (2.0, 3.0)] == [2.0, 3.0]


def test_inlines_inside_an_outer_trace():
    fun, traces = counted()
    before = len(apply.programs)
    outer = jax.jit(lambda x: apply(fun, x))
    assert outer(jnp.ones(2)).tolist() == [2, 2]
    outer(jnp.ones(2))
    assert len(traces) == 1
    assert len(apply.programs) == before


def test_a_closure_over_a_tracer_is_not_kept():
    @jax.jit
    def outer(a):
        return apply(lambda x: a * x, jnp.ones(()))

    assert outer(jnp.asarray(3.0)) == 3
    assert outer(jnp.asarray(4.0)) == 4
    assert jax.grad(lambda a: apply(lambda x: a * x, jnp.ones(())))(2.0) == 1


def call_with_fresh_closures(number):
    """Call with closures that each hold an array, and return weak references to the arrays."""
    references = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for i in range(number):
            array = np.full((10,), float(i))
            references.append(weakref.ref(array))
            apply(functools.partial(lambda a, x: x + a.sum(), array), jnp.ones(2))
            apply(lambda x, a=array: x + jnp.asarray(a).sum(), jnp.ones(2))
            del array
    gc.collect()
    return [reference for reference in references if reference() is not None]


def test_a_program_dies_with_its_function():
    assert call_with_fresh_closures(8) == []


@pytest.mark.slow
def test_a_thousand_programs_die_with_their_functions():
    assert call_with_fresh_closures(1000) == []


def test_the_oldest_program_goes_first(monkeypatch):
    monkeypatch.setattr(_jit, "MAX_PROGRAMS", 2)
    (f, traces), (g, _), (h, _) = counted(), counted(), counted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for fun in (f, g, f, h, f):
            apply(fun, jnp.ones(2))
        assert len(traces) == 1
        apply(g, jnp.ones(2))
        apply(h, jnp.ones(2))
        apply(f, jnp.ones(2))
    assert len(traces) == 2


def test_warns_once_of_a_function_made_in_a_loop():
    def loop():
        for i in range(10):
            apply(lambda x, i=i: x + i, jnp.ones(2))

    with pytest.warns(UserWarning, match=r"apply was called with 4 different functions.*test_jit.py:\d+") as caught:
        loop()
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_threads_agree():
    results = []

    def work():
        results.extend(float(apply(double, jnp.asarray(float(i)))) for i in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted([2.0 * i for i in range(50)] * 4)


class Net(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(2, 1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x)

    def loss(self, x):
        return self(x).sum()


@pytest.mark.parametrize("take", [lambda net: net, lambda net: net.loss, lambda net: functools.partial(net.loss)])
def test_refuses_an_nnx_module(take):
    with pytest.raises(TypeError, match=r"weights would be baked into.*models.from_nnx"):
        apply(take(Net()), jnp.ones((1, 2)))


def test_takes_a_linen_method():
    module = linen.Dense(1, param_dtype=jnp.float64)
    variables = module.init(jax.random.key(0), jnp.ones((1, 2)))
    x = jnp.ones((1, 2))
    assert jnp.allclose(apply(module.apply, variables, x), module.apply(variables, x))


def test_refuses_a_torch_module():
    with pytest.raises(TypeError, match="fun is a torch module"):
        apply(torch.nn.Linear(1, 1), jnp.ones(1))


@pytest.mark.parametrize(
    ("leaf", "complaint"),
    [
        (torch.ones(2), r"apply: x\['a'\] is a torch tensor; convert it with jnp.asarray"),
        ("text", r"apply: x\['a'\] is the string 'text'"),
        (np.array([object(), 1.0]), r"apply: x\['a'\] is an array of Python objects; give it a numeric dtype"),
        (np.array([[1.0], [1.0, 2.0]], object), r"apply: x\['a'\] is an array .* unequal shape: these are padded"),
    ],
)
def test_names_a_leaf_that_is_no_array(leaf, complaint):
    with pytest.raises(TypeError, match=complaint):
        apply(lambda x: x["a"], {"a": leaf})
    with pytest.raises(TypeError, match=complaint):
        jax.jit(lambda y: apply(lambda x: y, {"a": leaf}))(1.0)


def test_names_a_wrong_leaf_in_the_data():
    with pytest.raises(TypeError, match=r"apply: data\[1\]\['b'\] is the string"):
        apply(double, jnp.ones(2), 1.0, {"b": "x"})


def test_refuses_a_dictionary_with_keys_that_do_not_sort():
    with pytest.raises(TypeError, match=r"x cannot be flattened; do its dictionaries mix keys"):
        apply(double, {1: jnp.ones(2), "b": jnp.ones(2)})


def test_refuses_an_array_as_a_static_argument():
    with pytest.raises(TypeError, match=r"power must be known when the function is traced.*got int64\[\]"):
        apply(double, jnp.ones(2), power=jnp.asarray(2))


def test_refuses_a_negative_number_and_lets_a_traced_one_pass():
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got -1"):
        apply(double, jnp.ones(()), radius=-1)
    with pytest.raises(ValueError, match="radius must not be negative or NaN; got nan"):
        apply(double, jnp.ones(()), radius=float("nan"))
    assert apply(double, jnp.ones(()), radius=jnp.asarray(-1.0)) == -2


def test_warns_once_of_float64_while_x64_is_off():
    x = {"w": np.ones(5)}
    with jax.enable_x64(False):
        with pytest.warns(UserWarning, match=r"apply: x\['w'\] is float64, but JAX computes in float32"):
            apply(lambda x: x["w"], x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            apply(lambda x: x["w"], x)


def test_errors_of_the_function_pass_unchanged():
    def fails(x):
        message = "the user's own"
        raise ValueError(message)

    with pytest.raises(ValueError, match="the user's own"):
        apply(fails, jnp.ones(2))


def test_keeps_name_signature_and_docstring():
    assert apply.__name__ == "apply"
    assert "public function in small" in apply.__doc__


@jit("fun")
def gradient_of(fun, params, x):
    return jax.grad(fun)(params, x)


class Normed(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))


def test_refuses_statistics_among_the_parameters():
    module = Normed()
    whole, weights = nnx.state(module), nnx.state(module, nnx.Param)

    def loss(params, x):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)) * x

    with pytest.raises(TypeError, match=r"params is an NNX module.*models.from_nnx"):
        gradient_of(loss, module, 1.0)
    with pytest.raises(TypeError, match=r"params\['norm'\] is an NNX module"):
        jax.jit(lambda x: gradient_of(loss, {"norm": module.norm}, x))(1.0)
    with pytest.raises(TypeError, match=r"params\['norm'\]\['mean'\] is an nnx.BatchStat, which is no weight"):
        gradient_of(loss, whole, 1.0)
    assert len(jax.tree.leaves(gradient_of(loss, weights, 1.0))) == 2


def test_refuses_a_function_among_the_parameters():
    with pytest.raises(TypeError, match=r"params\['activation'\] is a function, not an array \(tanh\): split it off"):
        gradient_of(lambda params, x: params["w"] * x, {"w": 1.0, "activation": jnp.tanh}, 1.0)


def test_warns_once_of_all_the_wide_leaves_of_a_call():
    x = [np.ones(2)] * 40
    with jax.enable_x64(False), pytest.warns(UserWarning, match="and 39 more leaves are wide") as caught:
        apply(lambda x: x[0], x)
    assert len(caught) == 1


def test_one_function_on_plain_arrays_and_on_explicit_axes():
    """The result of a function that reads a shape alone lies where its argument lies, whichever came first."""
    fun = lambda x: jnp.ones(x.shape)  # noqa: E731
    plain = jnp.arange(8.0)
    laid_out = jax.device_put(plain, jax.NamedSharding(jax.make_mesh((4,), ("d",)), jax.P("d")))
    for x in (plain, laid_out):
        assert apply(fun, x).tolist() == [1.0] * 8
    assert len(apply.programs.get((fun, plain), {}).kept) == 1
    with jax.no_tracing(True):
        devices = [len(apply(fun, x).devices()) for x in (laid_out, plain, laid_out, plain)]
    assert devices == [4, 1, 4, 1]


def test_ways_of_calling_share_what_they_can():
    fun, traces = counted()
    apply(fun, jnp.ones(2), power=1)
    apply(fun=fun, x=jnp.ones(2), power=1)
    apply(fun, x=jnp.ones(2), power=1)
    assert apply(fun, jnp.ones(2), radius=3.0, power=1).tolist() == [6.0, 6.0]
    assert len(traces) <= 4
    with jax.no_tracing(True):
        assert apply(fun=fun, x=jnp.ones(2), power=1).tolist() == [2.0, 2.0]
        assert apply(fun, x=jnp.ones(2), power=1).tolist() == [2.0, 2.0]

"""What a function closes over is read at every call, as `jax.grad` reads it, and is held no longer than it lives."""

import functools
import gc
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jaxgrad import _jit, _static, meta
from jaxgrad._jit import jit

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@jit("fun")
def slope(fun, x, *data):
    """A public function in small."""
    return jax.grad(fun)(x, *data)


def agree(fun, *changes):
    """Assert that a direct call gives what `jax.grad` gives, before and after each change, and is traced anew only
    then."""
    x = jnp.arange(1.0, 4.0)
    for change in (lambda: None, *changes):
        change()
        _jit._crowds.clear()
        np.testing.assert_array_equal(slope(fun, x), jax.grad(fun)(x))
        with jax.no_tracing(True):
            slope(fun, x)


def test_a_cell_that_is_bound_anew():
    factor = 1.0

    def fun(x):
        return factor * jnp.sum(x)

    def change():
        nonlocal factor
        factor = 2.0

    agree(fun, change)


@pytest.mark.parametrize("size", [3, 3000])
def test_an_array_of_numpy_that_is_written_to(size):
    buffer = np.ones((size, 3))

    def fun(x):
        return jnp.sum(buffer @ x)

    agree(fun, lambda: buffer.fill(2.0), lambda: buffer.__setitem__((size - 1, 2), 7.0))


def test_an_array_inside_of_a_partial():
    buffer = np.ones(3)
    agree(functools.partial(lambda b, x: jnp.sum(b * x), buffer), lambda: buffer.fill(3.0))


RATE = 0.1


def test_a_global_that_an_optimizer_reads(monkeypatch):
    """Two lambdas of one line are two optimizers where the number that they read is another."""

    def moved():
        rule = optax.sgd(lambda step: RATE)
        return meta.adapt(distance, jnp.array(0.0), jnp.array(1.0), optimizer=rule, num_steps=1).item()

    first = moved()
    monkeypatch.setitem(globals(), "RATE", 0.5)
    assert (first, moved()) == pytest.approx((0.1, 0.5))


def distance(w, target):
    return 0.5 * (w - target) ** 2


def test_defaults():
    def fun(x, scale=[1.0], *, shift={"by": 1.0}):  # noqa: B006
        return jnp.sum(scale[0] * x * shift["by"])

    agree(fun, lambda: fun.__defaults__[0].__setitem__(0, 2.0), lambda: fun.__kwdefaults__["shift"].update(by=5.0))


class Trainer:
    """A bound method's object, with what people keep there."""

    def __init__(self):
        self.weight = 1.0
        self.options = {"decay": [0.1, 0.2]}
        self.mask = np.ones(3)
        self.moved = jnp.ones(3)
        self.itself = self

    def loss(self, x):
        return jnp.sum(self.weight * x * self.mask * self.moved) + self.options["decay"][1] * jnp.sum(x**2)

    def __call__(self, x):
        return self.loss(x)


@pytest.mark.parametrize("take", [lambda t: t.loss, lambda t: t, lambda t: functools.partial(t.loss)])
def test_attributes_of_a_bound_object(take):
    trainer = Trainer()
    agree(
        take(trainer),
        lambda: setattr(trainer, "weight", 10.0),
        lambda: trainer.options["decay"].__setitem__(1, 0.7),
        lambda: trainer.mask.__setitem__(0, 0.0),
        lambda: setattr(trainer, "moved", jnp.full(3, 4.0)),
    )


@dataclass
class Config:
    factor: float = 1.0
    inner: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(values=(1.0, [2.0])))


def test_what_is_reached_through_other_functions():
    config = Config()

    def scaled(x):
        return config.factor * x

    wrapped = jax.checkpoint(scaled)

    def fun(x):
        return jnp.sum(wrapped(x)) * config.inner.values[1][0]

    agree(fun, lambda: setattr(config, "factor", 3.0), lambda: config.inner.values[1].append(0.0) or None)


def test_a_value_that_comes_back_is_known_again():
    state = {"k": 1.0}

    def fun(x):
        return state["k"] * jnp.sum(x)

    agree(fun, lambda: state.update(k=2.0))
    state["k"] = 1.0
    with jax.no_tracing(True):
        assert slope(fun, jnp.arange(1.0, 4.0)).tolist() == [1.0, 1.0, 1.0]


def test_numbers_of_another_type_or_sign_of_zero():
    state = {"k": 1}

    def fun(x):
        return jnp.sum(jnp.asarray(state["k"]).astype(x.dtype) * x)

    agree(fun, lambda: state.update(k=True), lambda: state.update(k=1.0), lambda: state.update(k=np.float32(1.0)))
    zero = {"k": 0.0}
    agree(lambda x: jnp.sum(x / jnp.copysign(1.0, zero["k"])), lambda: zero.update(k=-0.0))


class Net(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(3, 1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x).sum()


def test_an_nnx_module_in_a_closure_is_refused():
    net = Net()
    holder = SimpleNamespace(model=[net])
    for fun in (lambda x: net(x), lambda x: holder.model[0](x), functools.partial(lambda m, x: m(x), net)):
        with pytest.raises(TypeError, match=r"reaches is an NNX module.*models.from_nnx"):
            slope(fun, jnp.ones(3))


GLOBAL_NET = None


def test_an_nnx_module_among_the_globals_is_refused(monkeypatch):
    monkeypatch.setitem(globals(), "GLOBAL_NET", Net())
    with pytest.raises(TypeError, match=r"the global 'GLOBAL_NET' of a static function is an NNX module"):
        slope(lambda x: jax.checkpoint(lambda y: GLOBAL_NET(y))(x), jnp.ones(3))


def test_a_linen_module_in_a_closure_is_taken():
    module = linen.Dense(1, param_dtype=jnp.float64)
    variables = module.init(jax.random.key(0), jnp.ones(3))
    agree(lambda x: module.apply(variables, x).sum())


def test_nothing_outlives_its_function():
    def build(i):
        array = jnp.full(1000, float(i))

        def fun(x):
            return jnp.sum(x) * array[0]

        return fun, weakref.ref(array)

    references = []
    for i in range(3):
        fun, array = build(i)
        slope(fun, jnp.ones(3))
        references += [weakref.ref(fun), array]
        del fun
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


def test_nothing_outlives_a_bound_object():
    trainer = Trainer()
    slope(trainer.loss, jnp.ones(3))
    reference, before = weakref.ref(trainer), len(slope.programs)
    del trainer
    gc.collect()
    assert reference() is None
    # functions of other tests may die in the same collection
    assert len(slope.programs) < before


def test_too_many_objects_are_refused():
    crowd = [[i] for i in range(_static.MANY_OBJECTS + 1)]
    with pytest.raises(ValueError, match="reaches more than 10000 objects"):
        slope(lambda x: jnp.sum(x) * len(crowd), jnp.ones(3))

"""Modules as parameters: weights are differentiated, anything else that is a leaf is refused by its path.

equinox where it is installed, and by its side a pytree that is registered by hand, which is no less of a module.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxgrad import curvature, gradient, per_example, shift
from tests.contract.test_bad_inputs import OF_A_LOSS, refusal
from tests.turns import in_turn

pytestmark = pytest.mark.usefixtures("compiled_quickly")

X = jnp.array([[0.3, -0.2], [0.5, 0.4]])
WEIGHT = jnp.array([0.5, -1.0])


@jax.tree_util.register_pytree_with_keys_class
class ByHand:
    """A module whose activation may be a leaf, or part of its structure."""

    def __init__(self, weight, extra=None, depth=1):
        self.weight, self.extra, self.depth = weight, extra, depth

    def __call__(self, x):
        return jnp.tanh(self.weight @ x) * self.depth

    def tree_flatten_with_keys(self):
        keys = [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in ("weight", "extra")]
        return keys, self.depth

    @classmethod
    def tree_unflatten(cls, depth, leaves):
        return cls(*leaves, depth)


def of_one(module, x):
    """A loss of any module, whatever else it holds."""
    return jnp.sum(module(x)) if callable(module) else jnp.sum(jnp.tanh(module["weight"] @ x))


NO_WEIGHT = {
    "a function": (jnp.tanh, r"params.extra is a function, not an array \(tanh\): split it off"),
    "a string": ("batch", r"params.extra is the string 'batch', not an array: split it off"),
    "an object": (object(), r"params.extra is a object, not an array; split it off"),
    "a whole number": (3, r"params.extra: got (a )?int"),
    "a bool": (True, r"params.extra: got (a )?bool"),
    "a counter": (jnp.array(3), r"params.extra: got int64\[\]"),
    "a key": (jax.random.key(0), r"params.extra: got key<fry>\[\]"),
}


@pytest.mark.parametrize(("kind", "name"), in_turn(NO_WEIGHT, OF_A_LOSS))
def test_a_leaf_that_is_no_weight_is_refused_by_its_path(kind, name):
    """Every function is asked, with a module that is registered by hand: they share what looks at the leaves."""
    extra, words = NO_WEIGHT[kind]
    error = refusal(lambda: OF_A_LOSS[name](lambda module, x: jnp.sum(module(x)), ByHand(WEIGHT, extra)))
    assert isinstance(error, TypeError)
    assert re.search(words, str(error)), error


def test_what_is_no_leaf_stays_as_it_is():
    module = ByHand(WEIGHT, None, depth=2)
    got = gradient.parameter_gradient(of_one, module, X[0])
    assert (type(got), got.extra, got.depth) == (ByHand, None, 2)
    want = gradient.parameter_gradient(lambda w, x: 2 * of_one({"weight": w}, x), WEIGHT, X[0])
    np.testing.assert_array_equal(got.weight, want)
    product = curvature.hvp(of_one, module, module, X[0])
    assert product.depth == 2
    ahead = shift.sam_gradient(of_one, ByHand(WEIGHT, None, depth=3), X[0], radius=0.1)
    assert ahead.depth == 3
    assert per_example.norms(of_one, module, X).shape == (2,)


def test_modules_of_other_settings_do_not_share_a_trace():
    slopes = [gradient.parameter_gradient(of_one, ByHand(WEIGHT, None, depth), X[0]).weight for depth in (1, 2, 1)]
    np.testing.assert_allclose(slopes[1], 2 * slopes[0])
    np.testing.assert_array_equal(slopes[2], slopes[0])


def test_a_leaf_that_is_no_weight_is_held_with_wrt():
    module = ByHand(WEIGHT, jnp.array(3))
    got = gradient.parameter_gradient(of_one, module, X[0], wrt="weight")
    np.testing.assert_array_equal(got.weight, gradient.parameter_gradient(of_one, ByHand(WEIGHT), X[0]).weight)
    assert got.extra == 0


class Normed(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0), param_dtype=jnp.float64)


@pytest.mark.parametrize("name", OF_A_LOSS)
def test_statistics_of_nnx_are_never_weights(name):
    module = Normed()
    for params, what in ((module, "an NNX module"), (nnx.state(module), r"an nnx\.BatchStat, which is no weight")):
        error = refusal(lambda params=params: OF_A_LOSS[name](lambda p, *data: 0.0, params))
        assert re.search(rf"params.* is {what}.*models.from_nnx", str(error)), error


@pytest.fixture
def eqx():
    return pytest.importorskip("equinox")


def network(eqx):
    return eqx.nn.MLP(2, 1, 4, 1, activation=jnp.tanh, dtype=jnp.float64, key=jax.random.key(0))


def squared(module, x):
    return jnp.sum(module(x) ** 2)


def test_the_activation_of_an_equinox_network_is_refused(eqx):
    for call in (
        lambda net: gradient.parameter_gradient(squared, net, X[0]),
        lambda net: curvature.hvp(squared, net, net, X[0]),
        lambda net: shift.sam_gradient(squared, net, X[0], radius=0.1),
        lambda net: per_example.norms(squared, net, X),
        eqx.filter_jit(lambda net: gradient.parameter_gradient(squared, net, X[0])),
    ):
        with pytest.raises(TypeError, match=r"params.activation is a function, not an array.*equinox.partition"):
            call(network(eqx))


def test_the_weights_of_an_equinox_network_are_differentiated(eqx):
    net = network(eqx)
    params, rest = eqx.partition(net, eqx.is_inexact_array)

    def loss(params, x):
        return squared(eqx.combine(params, rest), x)

    got = gradient.parameter_gradient(loss, params, X[0])
    want = eqx.filter_grad(squared)(net, X[0])
    jax.tree.map(np.testing.assert_allclose, got, eqx.filter(want, eqx.is_inexact_array))
    assert per_example.norms(loss, params, X).shape == (2,)
    product = curvature.hvp(loss, params, params, X[0])
    assert jax.tree.structure(product) == jax.tree.structure(params)


def test_an_equinox_layer_of_arrays_alone_is_taken_as_it_is(eqx):
    layer = eqx.nn.Linear(2, 1, dtype=jnp.float64, key=jax.random.key(0))
    got, want = gradient.parameter_gradient(squared, layer, X[0]), eqx.filter_grad(squared)(layer, X[0])
    assert type(got) is type(layer)
    jax.tree.map(np.testing.assert_allclose, got, want)

"""Mutable arrays, `jax.new_ref`, inside of a loss: right, or refused in one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import curvature, gradient, meta, multi_loss, nth, per_example, shift
from tests.bridge import assert_parity
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PARAMS = {"w": jnp.asarray(np.arange(9.0).reshape(3, 3) / 9)}
X = jnp.asarray(np.arange(6.0).reshape(2, 3) / 6)


def doubled_first(h):
    """Double the first entry in place."""
    ref = jax.new_ref(jnp.zeros(3))
    ref[...] = h
    ref[0] = ref[0] * 2
    return ref[...]


def doubled_first_anew(h):
    return h.at[0].multiply(2)


def loss_with(change):
    return lambda params, x: jnp.sum(jnp.tanh(change(x @ params["w"])) ** 2)


in_place, anew = loss_with(doubled_first), loss_with(doubled_first_anew)

EXACT = {
    "value_and_grad": lambda loss: gradient.value_and_grad(loss, PARAMS, X[0]),
    "sam_gradient": lambda loss: shift.sam_gradient(loss, PARAMS, X[0], radius=0.1),
    "hvp": lambda loss: curvature.hvp(loss, PARAMS, PARAMS, X[0]),
    "norms": lambda loss: per_example.norms(loss, PARAMS, X),
    "gradients": lambda loss: per_example.gradients(loss, PARAMS, X),
    "gram": lambda loss: per_example.gram(loss, PARAMS, X),
    "moments": lambda loss: per_example.moments(loss, PARAMS, X),
    "weighted_sum": lambda loss: per_example.weighted_sum(loss, PARAMS, X, weights=jnp.array([2.0, -1.0])),
    "empirical_fisher_product": lambda loss: per_example.empirical_fisher_product(loss, PARAMS, PARAMS, X),
    "random_projection": lambda loss: per_example.random_projection(loss, PARAMS, X, key=jax.random.key(0), dim=2),
}
EXACT |= {
    f"clipped_sum, {mode}": lambda loss, mode=mode: per_example.clipped_sum(loss, PARAMS, X, clip_norm=0.5, mode=mode)
    for mode in ("auto", "ghost", "book-keeping", "vmap")
}

SGD = {"optimizer": optax.sgd(0.1), "num_steps": 1}
REFUSED = {
    "multi_loss": lambda: multi_loss.gradients(lambda p, x: jnp.stack([in_place(p, x), jnp.sum(x)]), PARAMS, X[0]),
    "meta": lambda: meta.maml_gradient(in_place, PARAMS, (X,), (X,), **SGD),
    "nth": lambda: nth.derivatives(lambda t: doubled_first(t * X[0])[0], 0.5, 2),
}


@pytest.mark.parametrize("name", one_in(2, EXACT))
def test_right(name):
    assert_parity(EXACT[name](in_place), EXACT[name](anew))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(NotImplementedError, match=r"mutable array \(jax.new_ref\).*test_refs.py:2\d.*write array"):
        REFUSED[name]()


def test_refused_in_an_optimizer():
    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda g: -0.1 * doubled_first(g), updates), state

    rule = optax.GradientTransformation(lambda params: (), update)
    with pytest.raises(NotImplementedError, match=r"the optimizer makes or writes a mutable array"):
        meta.adapt(lambda w, x: jnp.sum(w * x) ** 2, np.ones(3), (X[0],), optimizer=rule, num_steps=1)

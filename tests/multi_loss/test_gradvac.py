"""`multi_loss.gradvac`: its first step, where the turn leads, and TorchJD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.multi_loss import gradvac, pcgrad
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.rules import compiled
from tests.multi_loss.stateful_weightings import GRAMS, KEYS

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

PLAIN = compiled(gradvac())


def test_at_first_it_is_pcgrad():
    made = PLAIN
    weights, _ = made.update(GRAMS[0], made.init(3), key=KEYS[0])
    np.testing.assert_allclose(weights, pcgrad(GRAMS[0], key=KEYS[0]), rtol=1e-12)


def test_a_gradient_is_turned_to_the_usual_cosine():
    gram = np.array([[4.0, -1.0], [-1.0, 1.0]])
    made = compiled(gradvac(beta=0.25))
    state = made.init(2)._replace(cosines=jnp.array([[0.0, 0.6], [0.1, 0.0]]))
    weights, after = made.update(gram, state, key=KEYS[0])
    rows = np.linalg.cholesky(gram)
    # the second alone: what remains of the weights is the first, turned
    _, alone = made.update(gram, state._replace(cosines=jnp.array([[0.0, 0.6], [-1.0, 0.0]])), key=KEYS[0])
    turned = np.asarray(made.update(gram, state._replace(cosines=jnp.array([[0.0, 0.6], [-1.0, 0.0]])), key=KEYS[0])[0])
    first = (turned - [0, 1]) @ rows
    np.testing.assert_allclose(first @ rows[1] / np.linalg.norm(first) / np.linalg.norm(rows[1]), 0.6, rtol=1e-12)
    np.testing.assert_allclose(after.cosines[0, 1], 0.75 * 0.6 - 0.25 * 0.5)
    assert weights[0] > 1
    assert alone.cosines.shape == (2, 2)


def test_equal_gradients_are_left_alone():
    """Whose usual cosine may be 1, which no turn reaches."""
    made = compiled(gradvac(beta=1.0))
    state = made.init(2)
    for gram in (np.ones((2, 2)), np.ones((2, 2)), np.array([[1.0, 0.5], [0.5, 1.0]])):
        weights, state = made.update(gram, state, key=KEYS[0])
        np.testing.assert_allclose(weights, [1, 1])


def test_one_loss_is_left_as_it_is():
    made = PLAIN
    weights, _ = made.update(jnp.array([[4.0]]), made.init(1), key=KEYS[0])
    np.testing.assert_array_equal(weights, [1.0])


def test_agrees_with_torchjd():
    """Of two losses, which have but one order; it adds 1e-8 to lengths."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs, made = torchjd.GradVacWeighting(beta=0.3), compiled(gradvac(beta=0.3))
    state = made.init(2)
    for gram in GRAMS[:, :2, :2]:
        weights, state = made.update(gram, state, key=KEYS[0])
        np.testing.assert_allclose(weights, theirs(to_torch(gram)).numpy(), rtol=1e-6)


def test_rejects_wrong_options():
    with pytest.raises(ValueError, match="beta must not be negative"):
        gradvac(beta=-0.1)
    made = gradvac()
    with pytest.raises(TypeError, match="key must be one random key"):
        made.update(GRAMS[0], made.init(3), key=0)
    assert jax.tree.leaves(made.init(3))[0].shape == (3, 3)

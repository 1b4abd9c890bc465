"""Fields of small pictures: many at once, and a start that is learned from a data set of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad import inr, meta
from jaxgrad.models import from_linen, linen
from tests.bridge import assert_parity
from tests.models.fields import field, points

pytestmark = pytest.mark.either_lane

skimage_data = pytest.importorskip("skimage.data")
SIDE, STEPS = 12, 3
POINTS = inr.image_targets(jnp.zeros((SIDE, SIDE), jnp.float32)).points


def patches(name, count, seed):
    """Cut patches of 48 x 48 pixels from the green of a picture, and take the means of 4 x 4 of them."""
    picture = getattr(skimage_data, name)()[..., 1] / 255.0
    rng, side = np.random.default_rng(seed), 4 * SIDE
    tops, lefts = (rng.integers(0, size - side, count) for size in picture.shape)
    cut = [picture[y : y + side, x : x + side] for y, x in zip(tops, lefts, strict=True)]
    means = np.stack(cut).reshape(count, SIDE, 4, SIDE, 4).mean((2, 4))
    return jnp.asarray(means.reshape(count, -1, 1), jnp.float32)


@pytest.fixture(scope="module")
def network():
    return from_linen(linen.Siren((2, 32, 32, 1), omega=15.0), POINTS, key=jax.random.key(0))


def test_a_learned_start_is_ahead_after_a_few_steps(network):
    apply_fn, plain = network
    seen = jnp.concatenate([patches("astronaut", 40, 0), patches("coffee", 40, 1)])
    unseen = patches("chelsea", 12, 2)

    def loss(params, values):
        return inr.value_loss(apply_fn, params, POINTS, values)

    def decibels(params, rate):
        """Fit each unseen picture in a few steps from one start; the mean PSNR."""
        fit = functools.partial(meta.adapt, loss, params, optimizer=optax.sgd(rate), num_steps=STEPS)
        errors = jax.vmap(lambda values: loss(fit(values), values))(unseen)
        return -10 * jnp.log10(errors).mean()

    outer = optax.adam(3e-3)

    @jax.jit
    def learn(params, batches):
        def step(carry, batch):
            params, state = carry
            inner = {"optimizer": optax.sgd(0.1), "num_steps": STEPS}
            slope = meta.reptile_gradient(loss, params, batch, **inner)
            # optax counts its steps in int32
            with jax.numpy_dtype_promotion("standard"):
                updates, state = outer.update(slope, state)
                return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, outer.init(params)), batches)[0][0]

    learned = learn(plain, seen[np.random.default_rng(0).integers(0, len(seen), (150, 4))])
    score = jax.jit(jax.vmap(decibels, (None, 0)))
    # the plain start with the learning rate that suits it best, the learned one with the rate that it was learned for
    rates = jnp.array([0.01, 0.03, 0.1, 0.3, 1.0], jnp.float32)
    before, after = jnp.nanmax(score(plain, rates)), score(learned, rates)[2]
    assert after > 29
    assert after > before + 8


@pytest.mark.parametrize("name", ["Siren", "HashGrid"])
def test_many_fields_at_once_are_those_one_by_one(name):
    it, x = field(name), jnp.asarray(points())
    rng = np.random.default_rng(2)
    many = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1 * rng.normal(size=(3, *leaf.shape)), it.params)
    values, slopes = rng.normal(size=(3, 7, 3)), rng.normal(size=(3, 7, 3, 2))

    def loss(params, values, slopes):
        fit = inr.value_loss(it.apply_fn, params, x, values)
        return fit + inr.gradient_loss(it.apply_fn, params, x, slopes)

    step = jax.value_and_grad(loss)
    together = jax.jit(jax.vmap(step))(many, values, slopes)
    one_by_one = jax.jit(lambda *all_of: jax.lax.map(lambda one: step(*one), all_of))(many, values, slopes)
    assert_parity(together, one_by_one, tolerance=1e-13)


def test_many_starts_are_drawn_at_once():
    network = linen.Siren((2, 4, 1))
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(network.init, (0, None))(keys, POINTS)
    alone = network.init(keys[1], POINTS)
    assert_parity(jax.tree.map(lambda leaf: leaf[1], many), alone, tolerance=1e-6)

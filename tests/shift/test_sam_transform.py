"""`shift.sam_transform` against a base run on SAM's gradients, leaf by leaf, inside and outside of optax's wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrad.shift import SAMTransformState, sam_gradient, sam_transform
from tests.bridge import assert_parity

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

ADAM = optax.adamw(0.1, weight_decay=0.1)
W = {"a": jnp.array([1.0, -2.0]), "b": {"c": jnp.array([0.5])}}
_x = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0], [-1.0, 1.0]])
X = jnp.asarray(_x)


@pytest.fixture(autouse=True)
def _as_optax_computes():
    """It multiplies integers by floats, in Adam's bias correction."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def loss(params, x):
    return jnp.mean((jnp.tanh(x @ params["a"]) * params["b"]["c"][0] - 1) ** 2)


def gradient_fn(x):
    return jax.grad(lambda params: loss(params, x))


def trained(optimizer, batches, gradient, **extra):
    """Take a step a batch, in one program, and return the parameters and the state."""

    def step(carry, x):
        params, state = carry
        options = {name: make(params, x) for name, make in extra.items()}
        updates, state = optimizer.update(gradient(params, x), state, params, **options)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda start: jax.lax.scan(step, start, batches)[0])((W, optimizer.init(W)))


def plain(params, x):
    return gradient_fn(x)(params)


def of_batch(params, x):
    return gradient_fn(x)


def base_run(batches, optimizer=ADAM, **options):
    """Return what the base reaches on the gradients of SAM."""
    return trained(optimizer, batches, lambda params, x: sam_gradient(loss, params, x, **options))


STEPS = jnp.asarray(np.stack([_x, 2 * _x, _x[::-1]]))


@pytest.mark.parametrize(
    "options",
    [{}, {"adaptive": True, "scaled": "a", "offset": 0.1, "num_steps": 2}],
    ids=["SAM", "ASAM, two steps"],
)
def test_the_state_of_the_base_is_that_of_a_run_on_the_gradients(options):
    sam = sam_transform(ADAM, radius=0.3, **options)
    params, state = trained(sam, STEPS, plain, grad_fn=of_batch)
    assert_parity((params, state.base), base_run(STEPS, radius=0.3, **options))
    assert state.step == 3


def test_every_second_step():
    sam = sam_transform(ADAM, radius=0.3, every=2)
    params, state = trained(sam, STEPS, plain, grad_fn=of_batch)

    def by_turns(params, numbered):
        k, x = numbered
        sharp = sam_gradient(loss, params, x, radius=0.3)
        return jax.tree.map(lambda s, g: jnp.where(k % 2 == 0, s, g), sharp, plain(params, x))

    assert_parity((params, state.base), trained(ADAM, (jnp.arange(3), STEPS), by_turns))


def test_multi_steps_inside_gives_every_micro_batch_a_shift_of_its_own():
    micro = STEPS.reshape(6, 2, 2)
    sam = sam_transform(optax.MultiSteps(ADAM, 2), radius=0.3)
    params, state = trained(sam, micro, plain, grad_fn=of_batch)
    # float32 is what MultiSteps adds gradients up in
    want, moments = base_run(STEPS, radius=0.3, groups=2)
    assert_parity((params, state.base.inner_opt_state), (want, moments), tolerance=1e-6)


def test_multi_steps_around_takes_the_gradient_of_all_micro_batches():
    whole = jnp.repeat(STEPS, 2, axis=0)
    micro = STEPS.reshape(6, 2, 2)
    sam = optax.MultiSteps(sam_transform(ADAM, radius=0.3), 2)
    got, state = trained(
        sam, (micro, whole), lambda p, both: plain(p, both[0]), grad_fn=lambda p, both: gradient_fn(both[1])
    )
    assert_parity((got, state.inner_opt_state.base), base_run(STEPS, radius=0.3), tolerance=1e-6)


def test_an_overflow_at_the_moved_weights_skips_the_step_and_leaves_the_moments_whole():
    sam = sam_transform(optax.apply_if_finite(ADAM, 3), radius=1.0)

    def sick(params, x):
        """Finite at the parameters as they are, and nowhere else."""
        return lambda there: jax.tree.map(
            lambda g, p, q: jnp.where(jnp.all(p == q), g, jnp.inf), gradient_fn(x)(there), there, params
        )

    once = trained(sam, STEPS[:1], plain, grad_fn=of_batch)
    state, params = once[1], once[0]
    updates, after = sam.update(plain(params, X), state, params, grad_fn=sick(params, X))
    assert_parity(updates, jax.tree.map(jnp.zeros_like, params), tolerance=0.0)
    assert_parity(after.base.inner_state, state.base.inner_state, tolerance=0.0)
    assert after.base.total_notfinite == 1


def test_apply_if_finite_around_leaves_the_count_where_it_is():
    sam = optax.apply_if_finite(sam_transform(ADAM, radius=0.3), 3)
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, W)
    updates, state = sam.update(bad, sam.init(W), W, grad_fn=gradient_fn(X))
    assert_parity(updates, jax.tree.map(jnp.zeros_like, W), tolerance=0.0)
    assert state.inner_state.step == 0


def test_in_a_chain():
    """Before the rest of a chain, around the identity, the rest sees the moved gradients."""
    clip = optax.clip_by_global_norm(0.1)
    chain = optax.chain(sam_transform(optax.identity(), radius=0.3), clip, ADAM)
    params, states = trained(chain, STEPS, plain, grad_fn=of_batch)
    want, (_, moments) = base_run(STEPS, optax.chain(clip, ADAM), radius=0.3)
    assert_parity((params, states[2]), (want, moments))


def test_under_a_mask_with_the_whole_tree():
    """What is not hidden is moved alone, beside the others as they are."""
    mask = {"a": True, "b": False}
    sam = optax.masked(sam_transform(optax.sgd(0.1, momentum=0.9), radius=0.3), mask)
    updates, state = sam.update(plain(W, X), sam.init(W), W, grad_fn=gradient_fn(X), whole=W)
    sharp = sam_gradient(loss, W, X, radius=0.3, wrt="a")["a"]
    assert_parity(updates["a"], -0.1 * sharp)
    assert_parity(state.inner_state.base[0].trace["a"], sharp)
    # optax hands on the gradient of what it hides
    assert_parity(updates["b"], plain(W, X)["b"])


def test_a_mask_inside_needs_no_word():
    sam = sam_transform(optax.masked(optax.sgd(0.1), {"a": True, "b": False}), radius=0.3, wrt="a")
    updates, _ = sam.update(plain(W, X), sam.init(W), W, grad_fn=gradient_fn(X))
    assert_parity(updates["a"], -0.1 * sam_gradient(loss, W, X, radius=0.3, wrt="a")["a"])


def test_16_bits_are_moved_in_float32():
    def steep(w):
        return jnp.sum((w - 1) ** 2) * w.dtype.type(2.0**10) + jnp.sum(w) * w.dtype.type(2.0**-4)

    w = jnp.ones(4, jnp.bfloat16)
    sam = sam_transform(optax.identity(), radius=2.0**-12)
    update, _ = sam.update(jax.grad(steep)(w), sam.init(w), w, grad_fn=jax.grad(steep))
    assert_parity(update, jnp.full(4, 2.0**-2 + 2.0**-4, jnp.bfloat16), dtypes=True)


def test_rejects_what_is_missing_or_does_not_fit():
    sam = sam_transform(ADAM, radius=0.3)
    state, slope, grad_fn = sam.init(W), plain(W, X), gradient_fn(X)
    with pytest.raises(ValueError, match="params must be given, since they are moved"):
        sam.update(slope, state, grad_fn=grad_fn)
    with pytest.raises(TypeError, match=r"grad_fn must be the function of params whose gradient.*got nothing"):
        sam.update(slope, state, W)
    with pytest.raises(TypeError, match="state must be the SAMTransformState that init"):
        sam.update(slope, ADAM.init(W), W, grad_fn=grad_fn)
    with pytest.raises(ValueError, match=r"updates\['b'\]\['c'\]: got nothing, expected float64"):
        sam.update({"a": slope["a"]}, state, W, grad_fn=grad_fn)
    with pytest.raises(ValueError, match=r"the result of grad_fn\['b'\]\['c'\]: got nothing"):
        sam.update(slope, state, W, grad_fn=lambda p: {"a": p["a"]})
    masked = optax.masked(sam, {"a": True, "b": False})
    with pytest.raises(ValueError, match=r"optax.masked or optax.partition hides.*whole=params"):
        masked.update(slope, masked.init(W), W, grad_fn=grad_fn)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"radius": -1.0}, ValueError, "radius must not be negative or NaN; got -1"),
        ({"radius": 0.1, "every": 0}, ValueError, "every must be at least 1"),
        ({"radius": 0.1, "num_steps": 1.5}, TypeError, "num_steps must be a Python integer"),
    ],
)
def test_rejects_options_that_mean_nothing(options, error, message):
    with pytest.raises(error, match=message):
        sam_transform(ADAM, **options)


def test_rejects_a_base_that_is_none():
    with pytest.raises(TypeError, match="base must be an optax transformation"):
        sam_transform(0.1, radius=0.1)
    assert isinstance(sam_transform(ADAM, radius=jnp.array(0.1)).init(W), SAMTransformState)

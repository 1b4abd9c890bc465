"""`shift.gradient` against torch at w + a, written-out forwards, its laws, and the shifts that it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import torch_ref.shift
from jaxgrad import _tree
from jaxgrad.shift import LowRank, gradient, value_and_grad
from tests.bridge import assert_parity, random_like, to_torch
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in
from tests.zoo import PAIRS, pair, tensors

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch():
    problem = regression()
    shift = random_like(problem.params, 1)
    got = value_and_grad(mean_square, problem.params, shift, *problem.data)
    want = torch_ref.shift.value_and_grad(mean_square_torch, problem.params_torch, to_torch(shift), *problem.data_torch)
    assert_parity(got, want)
    assert_parity(gradient(mean_square, problem.params, shift, *problem.data), want[1])


def test_a_scaled_shift_matches_torch():
    problem = regression()
    shift = {"layer1": random_like(problem.params, 1)["layer1"]}
    got = value_and_grad(mean_square, problem.params, shift, *problem.data, scale=-0.25)
    want = torch_ref.shift.value_and_grad(
        mean_square_torch, problem.params_torch, to_torch(shift), *problem.data_torch, scale=-0.25
    )
    assert_parity(got, want)


QUICK = [("TransformerEncoder", "linen"), ("BatchNormCNN", "nnx")]
REST = [pytest.param(*each, marks=pytest.mark.slow) for each in PAIRS if each not in QUICK]


@pytest.mark.parametrize(("name", "api"), [*QUICK, *REST])
def test_matches_torch_on_networks_that_nobody_rewrites(name, api):
    network = pair(name, api)
    shift = _tree.scale(random_like(network.params, 1), 0.1)
    got = gradient(network.loss, network.params, shift, *network.data)
    want = torch_ref.shift.gradient(
        network.loss_torch, network.params_torch, tensors(network.mapping.to_torch(shift)), *network.data_torch
    )
    assert_parity(got, network.mapping.gradients_to_jax(want))


def test_closed_form_of_a_cubic():
    value, slope = value_and_grad(lambda w: jnp.sum(w**3), jnp.array([1.0, -2.0]), jnp.array([1.0, 0.5]))
    assert_parity(value, 8.0 - 3.375)
    assert_parity(slope, jnp.array([12.0, 6.75]))


def test_is_the_gradient_of_a_forward_with_the_shift_written_into_it():
    problem = regression()
    shift = random_like(problem.params, 1)

    def written_out(params, shift, x, y):
        for i in range(3):
            layer, move = params[f"layer{i}"], shift[f"layer{i}"]
            x = (jnp.tanh(x) if i else x) @ (layer["weight"] + move["weight"]).T
            x = x + (layer["bias"] + move["bias"])[None]
        return jnp.mean((x - y) ** 2)

    got = gradient(mean_square, problem.params, shift, *problem.data)
    assert_parity(got, jax.jit(jax.grad(written_out))(problem.params, shift, *problem.data))
    assert_parity(got, jax.jit(jax.grad(written_out, argnums=1))(problem.params, shift, *problem.data))


def test_a_zero_shift_is_the_plain_gradient_exactly(compiled_fully):
    problem = regression()

    def loss(params, x, y):
        """A function of its own, of which no other test has compiled a program, in another way."""
        return mean_square(params, x, y)

    plain = jax.jit(jax.grad(loss))(problem.params, *problem.data)
    for shift in (None, {}, jax.tree.map(jnp.zeros_like, problem.params)):
        assert_parity(gradient(loss, problem.params, shift, *problem.data), plain, tolerance=0.0)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(kept=st.lists(st.sampled_from(["present", "absent", "None"]), min_size=6, max_size=6))
def test_a_partial_shift_is_a_full_one_with_zeros(kept):
    problem = regression()
    full, partial, words = random_like(problem.params, 1), {}, iter(kept)
    for name, layer in full.items():
        for leaf in layer:
            word = next(words)
            if word != "absent":
                partial.setdefault(name, {})[leaf] = None if word == "None" else layer[leaf]
    words = iter(kept)
    zeroed = jax.tree.map(lambda leaf: leaf if next(words) == "present" else jnp.zeros_like(leaf), full)
    got = gradient(mean_square, problem.params, partial, *problem.data)
    assert_parity(got, gradient(mean_square, problem.params, zeroed, *problem.data), tolerance=1e-14)
    want = torch_ref.shift.gradient(mean_square_torch, problem.params_torch, to_torch(partial), *problem.data_torch)
    assert_parity(got, want)


def test_wrt_chooses_leaves_of_the_gradient_and_not_of_the_shift():
    problem = regression()
    shift = random_like(problem.params, 1)
    full = gradient(mean_square, problem.params, shift, *problem.data)
    got = gradient(mean_square, problem.params, shift, *problem.data, wrt="*/bias")
    assert_parity(got, {k: {"weight": jnp.zeros_like(v["weight"]), "bias": v["bias"]} for k, v in full.items()})


def test_is_differentiable_in_the_shift_as_in_the_parameters():
    problem = regression()
    shift, vector = random_like(problem.params, 1), random_like(problem.params, 2)

    def slopes(params, shift):
        return gradient(mean_square, params, shift, *problem.data)

    zero = jax.tree.map(jnp.zeros_like, vector)
    pushed = jax.jit(lambda *moved: jax.jvp(slopes, (problem.params, shift), moved)[1])
    assert_parity(pushed(vector, zero), pushed(zero, vector))


def test_the_aux_is_of_the_clean_pass_unless_it_is_asked_for_otherwise():
    def loss(w, x):
        return jnp.sum(w**2), {"mean": w.mean() * x, "count": jnp.arange(2)}

    for state, mean in (({}, 4.0), ({"state": "clean"}, 4.0), ({"state": "moved"}, 6.0)):
        got = gradient(loss, jnp.array([1.0, 3.0]), jnp.ones(2), jnp.array(2.0), has_aux=True, **state)
        assert_parity(got, (jnp.array([4.0, 8.0]), {"mean": jnp.array(mean), "count": jnp.arange(2)}), dtypes=True)
    text = {
        state: jax.jit(lambda w, x, s=state: gradient(loss, w, w, x, has_aux=True, state=s)[1]["mean"])
        .lower(jnp.ones(2), jnp.array(2.0))
        .as_text()
        for state in ("clean", "moved")
    }
    assert text["moved"].count("stablehlo.add") == text["clean"].count("stablehlo.add") + 1  # the shift alone


def bowl(w):
    """Half the sum of squares, whose gradient is the point itself."""
    return jnp.sum(jnp.float32(0.5) * w.astype(jnp.float32) ** 2)


@pytest.mark.parametrize("dtype", one_in(2, [jnp.bfloat16, jnp.float16]))
def test_a_shift_below_the_spacing_of_16_bits_moves(dtype):
    """1 + 2^-12 is 1 in either dtype: the gradient is read through a loss that magnifies what is left of 1."""

    def magnified(w, x):
        return jnp.sum((w * x - 1) ** 2) * w.dtype.type(2.0**11), (w * x).sum()

    w, tiny, x = jnp.ones(2, dtype), jnp.full(2, 2.0**-13, dtype), jnp.ones(2, dtype)
    value, slope = value_and_grad(magnified, w, tiny, x, scale=2.0, has_aux=True)
    assert slope.dtype == value[0].dtype == value[1].dtype == dtype
    assert_parity(slope, jnp.ones(2, dtype))
    assert_parity(gradient(magnified, w, tiny.astype(jnp.float32), x, scale=2.0, has_aux=True)[0], slope)
    assert_parity(gradient(bowl, w, None), w, tolerance=0.0)


def test_rejects_a_scale_that_is_none_and_another_word():
    with pytest.raises(ValueError, match=r"scale must be one number.*float64\[2\]"):
        gradient(bowl, jnp.ones(2), jnp.ones(2), scale=jnp.ones(2))
    with pytest.raises(TypeError, match="scale must be a real number"):
        gradient(bowl, jnp.ones(2), jnp.ones(2), scale=True)
    with pytest.raises(ValueError, match="state must be one of 'clean', 'moved'; got 'shifted'"):
        gradient(bowl, jnp.ones(2), jnp.ones(2), state="shifted")


PAIR = {"a": jnp.asarray(np.ones((2, 3))), "b": [jnp.asarray(np.ones(2)), jnp.asarray(np.ones(4))]}


def total(params):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))


def test_a_list_may_hold_none():
    got = gradient(lambda p: total(jax.tree.map(jnp.square, p)), PAIR, {"b": [None, jnp.ones(4)]})
    assert_parity(got, {"a": 2 * jnp.ones((2, 3)), "b": [2 * jnp.ones(2), 4 * jnp.ones(4)]})


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        ({"a": np.ones((3, 2))}, r"shift\['a'\]: got float64\[3,2\], expected float64\[2,3\]"),
        ({"a": np.ones((2, 3), jnp.float32)}, r"shift\['a'\]: got float32\[2,3\], expected float64\[2,3\]"),
        ({"c": np.ones(2), "b": [None, np.ones(3)]}, r"(?s)\['b'\]\[1\]: got float64\[3\].*\['c'\]: .* nothing"),
        ({"b": [np.ones(2)]}, r"shift\['b'\]\[1\]: got nothing, expected float64\[4\] or None"),
        (np.ones(2), r"(?s)shift: got float64\[2\], expected nothing"),
    ],
)
def test_rejects_a_shift_that_does_not_fit(shift, message):
    with pytest.raises(ValueError, match=message):
        gradient(total, PAIR, shift)


def test_rejects_a_shift_of_low_rank():
    low = LowRank(jnp.ones((1, 2, 1)), jnp.ones((1, 3, 1)), None, (2, 3))
    with pytest.raises(ValueError, match=r"shift has leaves of low rank, which expected_gradient.*dense\(\) here"):
        gradient(total, PAIR, {"a": low})


def test_rejects_a_tree_where_an_array_is_moved():
    with pytest.raises(ValueError, match=r"shift\['w'\]: got float64\[2\], expected nothing"):
        gradient(jnp.sum, jnp.ones(2), {"w": jnp.ones(2)})


def test_rejects_leaves_and_losses_without_a_gradient():
    with pytest.raises(TypeError, match=r"params\['step'\]: got int64"):
        gradient(lambda p: p["w"], {"w": jnp.ones(()), "step": jnp.asarray(1)}, None)
    with pytest.raises(ValueError, match=r"got float64\[2\]: reduce it"):
        gradient(lambda p: p, jnp.ones(2), None)
    with pytest.raises(ValueError, match="no differentiable leaves"):
        gradient(lambda _: jnp.ones(()), {}, None)

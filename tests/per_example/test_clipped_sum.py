"""`per_example.clipped_sum` against a loop, at the median norm and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import clipped_sum, gradients, norms
from tests.bridge import assert_parity
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_matches_torch_at_the_median_norm():
    problem = regression()
    median = float(jnp.median(norms(mean_square, problem.params, *problem.data)))
    got = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=median * 1.001)
    want = torch_ref.per_example.clipped_sum(
        mean_square_torch, problem.params_torch, *problem.data_torch, clip_norm=median * 1.001
    )
    assert_parity(got[0], want[0])
    assert_parity(got[1]._asdict(), want[1]._asdict())
    assert 0 < got[1].fraction_clipped < 1


def test_an_infinite_norm_clips_nothing():
    problem = regression()
    rows = gradients(mean_square, problem.params, *problem.data)
    total, info = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=np.inf)
    assert_parity(total, jax.tree.map(lambda g: g.sum(0), rows))
    assert info.fraction_clipped == 0


def test_a_zero_norm_gives_zeros():
    problem = regression()
    total, _ = clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.0)
    assert_parity(total, jax.tree.map(np.zeros_like, problem.params))


def test_at_the_norm_itself_nothing_is_scaled():
    def loss(params, x):
        return params["w"] @ x

    total, info = clipped_sum(loss, {"w": jnp.ones(2)}, jnp.array([[3.0, 4.0]]), clip_norm=5.0)
    assert total["w"].tolist() == [3.0, 4.0]
    assert info.fraction_clipped == 0


@pytest.mark.parametrize("clip_norm", [-1.0, np.float64(-1.0), np.float32(-1.0), np.array(-1.0)])
def test_rejects_a_negative_norm(clip_norm):
    problem = regression()
    with pytest.raises(ValueError, match="clip_norm must not be negative"):
        clipped_sum(mean_square, problem.params, *problem.data, clip_norm=clip_norm)


def linear(params, x):
    return sum(jnp.sum(leaf * x[name]) for name, leaf in params.items())


PARAMS = {"a": jnp.asarray(np.ones(2)), "b": jnp.asarray(np.ones(2))}
BATCH = {"a": jnp.array([[3.0, 4.0], [0.3, 0.4]]), "b": jnp.array([[0.0, 2.0], [0.0, 0.1]])}


def test_a_prefix_clips_each_part_by_its_own_norm():
    total, info = clipped_sum(linear, PARAMS, BATCH, clip_norm={"a": 1.0, "b": 4.0})
    assert_parity(total, {"a": jnp.array([0.9, 1.2]), "b": jnp.array([0.0, 2.1])})
    assert_parity(info.norms, {"a": jnp.array([5.0, 0.5]), "b": jnp.array([2.0, 0.1])})
    assert_parity(info.sensitivity, np.sqrt(17.0))
    assert_parity(info.fraction_clipped, 0.5)


def automatic(norms):
    return 1 / (norms + 0.01)


@pytest.mark.parametrize("microbatch", one_in(2, [None, 1]))
def test_a_function_of_the_norms_scales(microbatch):
    rows = gradients(linear, PARAMS, BATCH)
    lengths = norms(linear, PARAMS, BATCH)
    total, info = clipped_sum(linear, PARAMS, BATCH, clip_norm=automatic, microbatch=microbatch)
    assert_parity(total, jax.tree.map(lambda g: jnp.tensordot(automatic(lengths), g, 1), rows))
    assert jnp.isinf(info.sensitivity)


def to_the_mean(norms):
    return jnp.minimum(1, jnp.nanmean(norms) / norms)


@pytest.mark.parametrize("microbatch", one_in(2, [None, 2], 1))
def test_a_function_of_the_norms_does_not_see_padding_nor_what_is_not_finite(microbatch):
    problem = regression()
    x, y = map(np.array, problem.data)
    x[2] = np.nan
    padding, keep = np.arange(7) == 5, np.array([0, 1, 3, 4, 6])
    got, info = clipped_sum(
        mean_square, problem.params, x, y, clip_norm=to_the_mean, is_padding=padding, microbatch=microbatch
    )
    want, inner = clipped_sum(mean_square, problem.params, x[keep], y[keep], clip_norm=to_the_mean)
    assert_parity(got, want)
    assert_parity(info.norms[keep], inner.norms)
    assert_parity(info.fraction_clipped, (float(inner.fraction_clipped) * 5 + 1) / 6)
    assert info.norms[5] == 0


def test_takes_a_list_as_a_mask():
    total, _ = clipped_sum(linear, PARAMS, BATCH, clip_norm=10.0, is_padding=[False, True])
    assert_parity(total, {"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.0, 2.0])})


@pytest.mark.parametrize("mode", ["book-keeping", "ghost", "vmap"])
def test_padding_and_examples_that_are_not_finite_add_nothing(mode):
    problem = regression()
    x, y = map(np.array, problem.data)
    x[2], x[4] = np.nan, np.inf
    padding = np.arange(7) == 5
    keep = np.array([0, 1, 3, 6])
    total, info = clipped_sum(
        mean_square, problem.params, x, y, clip_norm=0.5, is_padding=padding, mode=mode, microbatch=4
    )
    want, inner = clipped_sum(mean_square, problem.params, x[keep], y[keep], clip_norm=0.5)
    assert_parity(total, want)
    lengths, losses = np.asarray(info.norms), np.asarray(info.losses)
    assert_parity(lengths[keep], inner.norms)
    assert lengths[5] == losses[5] == 0
    assert not np.isfinite(lengths[2])
    assert_parity(info.fraction_clipped, (float(inner.fraction_clipped) * 4 + 2) / 6)


def test_a_traced_norm_agrees_with_a_number():
    problem = regression()

    def clipped(c):
        return clipped_sum(mean_square, problem.params, *problem.data, clip_norm=c)[0]

    assert_parity(jax.jit(clipped)(0.5), clipped(0.5))
    assert_parity(clipped(jnp.array(0.0)), jax.tree.map(np.zeros_like, problem.params))


def test_a_second_call_traces_nothing():
    problem = regression()
    clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.5)
    with jax.no_tracing():
        clipped_sum(mean_square, problem.params, *problem.data, clip_norm=0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_norm": {"layer0": 1.0}}, "clip_norm must be a number, a prefix of params"),
        ({"clip_norm": {"layer0": -1.0}}, r"clip_norm\['layer0'\] must not be negative"),
        ({"clip_norm": lambda n: n[:2]}, "as many scales"),
        ({"clip_norm": 1.0, "mode": "fast"}, "mode must be one of 'auto'"),
        ({"clip_norm": 1.0, "microbatch": 0}, "microbatch must be at least 1"),
        ({"clip_norm": 1.0, "is_padding": np.zeros(3, bool)}, "is_padding must be 7 booleans"),
    ],
)
def test_rejects_bad_options(options, message):
    problem = regression()
    with pytest.raises(ValueError, match=message):
        clipped_sum(mean_square, problem.params, *problem.data, **options)

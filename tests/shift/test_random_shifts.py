"""`shift.random_shifts`: its moments beside torch's, that leaves and shifts are independent, and its refusals."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.shift
from jaxgrad.shift import random_shifts
from tests.bridge import assert_parity
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PARAMS = {"a": jnp.asarray(np.zeros((4, 5))), "b": jnp.asarray(np.zeros(6)), "c": jnp.asarray(np.zeros((4, 5)))}
COUNT = 4000


@pytest.mark.parametrize(("distribution", "deviation"), [("normal", 0.2), ("uniform", 0.2 / 3**0.5)])
def test_has_the_moments_of_torchs_own_draws(key, distribution, deviation):
    """Mean and mean square within five standard errors, in both frameworks, whose numbers cannot be the same."""
    ours = random_shifts(PARAMS, key=key, num_shifts=COUNT, distribution=distribution, scale=0.2)
    theirs = torch_ref.shift.random_shifts(
        {name: torch.zeros(leaf.shape) for name, leaf in PARAMS.items()},
        generator=torch.Generator().manual_seed(0),
        num_shifts=COUNT,
        distribution=distribution,
        scale=0.2,
    )
    for name, leaf in ours.items():
        for draws in (np.asarray(leaf), theirs[name].numpy()):
            assert draws.shape == (COUNT, *PARAMS[name].shape)
            assert abs(draws.mean()) < 5 * deviation / draws.size**0.5
            assert abs((draws**2).mean() - deviation**2) < 5 * (draws**2).std() / draws.size**0.5
            assert distribution == "normal" or abs(draws).max() <= 0.2


def test_leaves_and_shifts_are_independent(key):
    shifts = random_shifts(PARAMS, key=key, num_shifts=3)
    assert abs(np.corrcoef(shifts["a"].ravel(), shifts["c"].ravel())[0, 1]) < 0.6
    assert not jnp.array_equal(shifts["a"][0], shifts["a"][1])


def test_the_scale_may_be_a_tree(key):
    scales = {"a": jnp.full((4, 5), 2.0), "b": jnp.arange(6.0), "c": jnp.zeros((4, 5))}
    unit = random_shifts(PARAMS, key=key, num_shifts=3)
    got = random_shifts(PARAMS, key=key, num_shifts=3, scale=scales)
    assert_parity(got, {name: unit[name] * scales[name][None] for name in unit})


def test_keeps_the_dtype(key):
    shifts = random_shifts(jnp.zeros(3, jnp.bfloat16), key=key, num_shifts=2, distribution="uniform")
    assert shifts.dtype == jnp.bfloat16


def test_rejects_what_is_no_number_of_shifts(key):
    with pytest.raises(ValueError, match="num_shifts must be at least 1; got 0"):
        random_shifts(PARAMS, key=key, num_shifts=0)
    with pytest.raises(TypeError, match=r"key must be one random key, such as jax.random.key\(0\); got a NoneType"):
        random_shifts(PARAMS, key=None, num_shifts=2)
    with pytest.raises(TypeError, match="num_shifts must be a Python integer"):
        random_shifts(PARAMS, key=key, num_shifts=2.0)
    with pytest.raises(ValueError, match="distribution must be one of 'normal', 'uniform'"):
        random_shifts(PARAMS, key=key, num_shifts=2, distribution="gaussian")
    with pytest.raises(ValueError, match="scale must not be negative"):
        random_shifts(PARAMS, key=key, num_shifts=2, scale=-0.1)
    with pytest.raises(ValueError, match=r"scale\['b'\]: got nothing"):
        random_shifts(PARAMS, key=key, num_shifts=2, scale={"a": jnp.ones((4, 5)), "c": jnp.ones((4, 5))})
    with pytest.raises(TypeError, match=r"params: got int64\[2\]"):
        random_shifts(jnp.arange(2), key=key, num_shifts=2)


@pytest.mark.parametrize("dtype", one_in(2, [jnp.bfloat16, jnp.float16]))
def test_shifts_of_16_bits_have_their_values_and_their_tail(key, dtype):
    draws = random_shifts({"w": jnp.zeros((100, 100), dtype)}, key=key, num_shifts=4, scale=0.5)["w"]
    values = np.asarray(draws, np.float64)
    assert draws.dtype == dtype
    assert len(np.unique(values)) > 1000
    assert np.abs(values).max() > 1.75

"""`multi_loss.trimmed_mean` against loops, liars, NaN, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import trimmed_mean
from jaxgrad.verify._bridge import to_torch
from tests.bridge import assert_parity

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

RNG = np.random.default_rng(0)
TREE = {"a": RNG.normal(size=(5, 4)), "b": RNG.normal(size=(5, 2, 3))}


@pytest.mark.parametrize("trim", [0, 1, 2])
def test_matches_torch_and_torchjd(trim):
    assert_parity(trimmed_mean(TREE, trim=trim), torch_ref.multi_loss.trimmed_mean(to_torch(TREE), trim=trim))


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.aggregation")
    theirs = torchjd.TrimmedMean(trim_number=2)(to_torch(TREE["a"])).numpy()
    np.testing.assert_allclose(trimmed_mean(TREE["a"], trim=2), theirs, rtol=1e-12)


def test_liars_have_no_hold_and_a_nan_shows():
    rows = jnp.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, np.inf, np.nan]])
    np.testing.assert_array_equal(trimmed_mean(rows, trim=1), [2.0, 2.0, np.nan])


def test_rejects_to_trim_all():
    with pytest.raises(ValueError, match=r"trim must be from 0 to 2; got 3. of 5 gradients 6 would be left out"):
        trimmed_mean(TREE, trim=3)

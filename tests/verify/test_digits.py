"""The networks trained on the digits: real input, weights that learned something, the same in both frameworks."""

import jax
import numpy as np
import pytest

from jaxgrad.verify.cases import _trained
from tests.bridge import assert_parity


def test_digits_are_all_there():
    images, labels = _trained.digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.float64
    assert (images.min(), images.max()) == (0, 1)
    assert sorted(set(labels)) == list(range(10))


@pytest.mark.parametrize(("make", "api"), [(_trained.mlp, "linen"), (_trained.mlp, "nnx"), (_trained.cnn, "nnx")])
def test_networks_have_learned_and_agree(make, api):
    network = make(api)
    assert network.accuracy > 0.9
    (p, x, y), (pt, xt, yt) = network.cast(np.float64)
    assert_parity(jax.jit(network.loss)(p, x, y), network.loss_torch(pt, xt, yt))
    assert network is make(api)


def test_casts_keep_labels_and_give_both_frameworks_one_dtype():
    (p, x, y), (pt, xt, _) = _trained.mlp().cast(np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves((p, x))} == {np.dtype(np.float32)}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((pt, xt))} == {"torch.float32"}
    assert y.dtype == np.int32

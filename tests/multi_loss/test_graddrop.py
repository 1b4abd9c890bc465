"""`multi_loss.graddrop` against loops on the same draws, its expectation, and TorchJD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import graddrop
from jaxgrad.verify._bridge import to_torch
from tests.bridge import assert_parity

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

RNG = np.random.default_rng(0)
TREE = {"a": RNG.normal(size=(3, 4)), "b": RNG.normal(size=(3, 2, 3))}


def squared(purity):
    return purity**2


@pytest.mark.parametrize("purity_fn", [None, squared])
@pytest.mark.parametrize("leak", [None, np.array([0.0, 0.3, 1.0])])
def test_matches_torch(purity_fn, leak, key):
    keys = jax.random.split(key, 2)
    draws = {
        name: np.asarray(jax.random.uniform(k, TREE[name].shape[1:], "float32").astype(float))
        for name, k in zip("ab", keys, strict=True)
    }
    got = graddrop(TREE, key=key, purity_fn=purity_fn, leak=leak)
    options = {"draws": to_torch(draws), "purity_fn": purity_fn, "leak": leak}
    assert_parity(got, torch_ref.multi_loss.graddrop(to_torch(TREE), **options))


def test_one_sign_in_each_coordinate_by_its_part(key):
    rows = jnp.array([[1.0, 3.0, -1.0, 0.0], [2.0, -1.0, -4.0, 0.0]])
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: graddrop(rows, key=key)))(jax.random.split(key, 4000)))
    assert (drawn[:, [0, 2, 3]] == [3, -5, 0]).all()
    assert set(drawn[:, 1]) == {3, -1}
    # three quarters of the entries' size are positive; four standard errors are 0.028
    assert abs((drawn[:, 1] == 3).mean() - 0.75) < 0.028


def test_agrees_with_torchjd_where_nothing_is_drawn(key):
    torchjd = pytest.importorskip("torchjd.aggregation")
    always = {"f": lambda purity: 0 * purity + 1.0, "leak": to_torch(np.array([0.2, 0.0, 0.5]))}
    theirs = torchjd.GradDrop(**always)(to_torch(TREE["a"])).numpy()
    ours = graddrop(TREE["a"], key=key, purity_fn=jnp.ones_like, leak=np.array([0.2, 0.0, 0.5]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_agrees_with_torchjd_on_the_same_draws(monkeypatch, key):
    torchjd = pytest.importorskip("torchjd.aggregation")
    rows = np.concatenate([TREE["a"], -TREE["a"], np.ones((3, 2))], axis=1)
    draws = to_torch(np.asarray(jax.random.uniform(jax.random.split(key, 1)[0], rows.shape[1:], "float32"), float))
    monkeypatch.setattr("torch.rand", lambda *_, **__: draws)
    np.testing.assert_allclose(graddrop(rows, key=key), torchjd.GradDrop()(to_torch(rows)).numpy(), rtol=1e-12)


def test_a_nan_shows(key):
    assert np.isnan(graddrop(jnp.array([[np.nan, 1.0], [1.0, 1.0]]), key=key)).tolist() == [True, False]
    # whatever sign is drawn; only what overflows in the sum of the sizes alone is no sickness
    rows = jnp.array([[np.inf, -np.inf, 3e38], [-1.0, 1.0, -3e38]], jnp.float32)
    assert np.isfinite(graddrop(rows, key=key)).tolist() == [False, False, True]


def test_rejects_what_does_not_fit(key):
    with pytest.raises(ValueError, match=r"leak must hold one number for each of the 3 losses; got float64\[2\]"):
        graddrop(TREE, key=key, leak=jnp.ones(2))
    with pytest.raises(ValueError, match="every leaf must have the same leading axis"):
        graddrop({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}, key=key)

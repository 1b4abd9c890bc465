"""`multi_loss.uncertainty`: where it settles, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgrad.multi_loss import uncertainty
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_scalarizers import LOSSES, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_at_first_a_loss_counts_one_half():
    made = uncertainty(optimizer=optax.sgd(0.1))
    value, state = made.update(LOSSES[0], made.init(3))
    np.testing.assert_allclose(value, LOSSES[0].sum() / 2)
    np.testing.assert_allclose(state.log_variances, -0.1 * (1 - LOSSES[0]) / 2)


def test_settles_where_the_variance_is_the_loss_and_the_total_is_negative():
    losses = np.array([1e-3, 0.2, 0.05])
    made = uncertainty(optimizer=optax.sgd(0.1))
    state = made.init(3)._replace(log_variances=jnp.log(losses))
    value, after = made.update(losses, state)
    np.testing.assert_allclose(value, (3 + np.log(losses).sum()) / 2)
    assert value < 0
    np.testing.assert_allclose(after.log_variances, state.log_variances, rtol=1e-14)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = torchjd.UW(3).double()
    adam, values = torch.optim.Adam(theirs.parameters(), lr=0.1), []
    for losses in to_torch(LOSSES):
        adam.zero_grad()
        values.append(theirs(losses))
        values[-1].backward()
        adam.step()
    np.testing.assert_allclose(run("uncertainty")[0], [value.item() for value in values], rtol=1e-12)

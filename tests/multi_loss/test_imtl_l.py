"""`multi_loss.imtl_l`: where it settles, its kinship with `uncertainty`, and TorchJD."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgrad.multi_loss import imtl_l
from jaxgrad.verify._bridge import to_torch
from tests.multi_loss.stateful_scalarizers import LOSSES, run

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]


def test_settles_where_all_scaled_losses_are_1():
    made = imtl_l(optimizer=optax.sgd(0.1))
    state = made.init(3)._replace(log_scales=-jnp.log(LOSSES[0]))
    value, after = made.update(LOSSES[0], state)
    np.testing.assert_allclose(value, 3 + np.log(LOSSES[0]).sum())
    np.testing.assert_allclose(after.log_scales, state.log_scales, rtol=1e-13, atol=1e-14)


def test_is_twice_uncertainty_of_the_negative_logarithms():
    """Under Adam, which sees no factor but by its constant of 1e-8."""
    np.testing.assert_allclose(run("imtl_l")[2].log_scales, -run("uncertainty")[2].log_variances, rtol=1e-5)
    np.testing.assert_allclose(run("imtl_l")[0], 2 * run("uncertainty")[0], rtol=1e-5)


def test_agrees_with_torchjd():
    torchjd = pytest.importorskip("torchjd.scalarization")
    theirs = torchjd.IMTLL(3).double()
    adam, values = torch.optim.Adam(theirs.parameters(), lr=0.1), []
    for losses in to_torch(LOSSES):
        adam.zero_grad()
        values.append(theirs(losses))
        values[-1].backward()
        adam.step()
    np.testing.assert_allclose(run("imtl_l")[0], [value.item() for value in values], rtol=1e-12)

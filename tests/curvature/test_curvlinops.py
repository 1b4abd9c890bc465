"""`curvature.kfac` and `ekfac` against curvlinops, on a network that it takes, where it is installed.

Two differences are of the definitions. The bias of a convolution: its block is exact here, and without what two
positions have in common there. The empirical matrix of a mean squared error: each output counts as a loss there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgrad.curvature import ekfac, kfac
from tests.bridge import assert_parity, random_like, to_torch

curvlinops = pytest.importorskip("curvlinops", reason="curvlinops-for-pytorch is not installed")

pytestmark = pytest.mark.usefixtures("compiled_quickly")

LAYERS = [
    nn.Conv2d(2, 3, 3, stride=2, padding=1),
    nn.Tanh(),
    nn.Flatten(),
    nn.Linear(27, 4),
    nn.Tanh(),
    nn.Linear(4, 2),
]
NETWORK = nn.Sequential(*LAYERS).double()
RNG = np.random.default_rng(0)
X, LABELS, TARGETS = RNG.normal(size=(5, 2, 5, 5)), RNG.integers(0, 2, size=5), RNG.normal(size=(5, 2))


def model(params, x):
    layout = ("NCHW", "OIHW", "NCHW")
    x = jax.lax.conv_general_dilated(x[None], params["0.weight"], (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout)
    x = jnp.tanh(x[0] + params["0.bias"][:, None, None]).reshape(-1)
    return params["5.weight"] @ jnp.tanh(params["3.weight"] @ x + params["3.bias"]) + params["5.bias"]


def mean_square(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


LOSSES = {
    "cross-entropy": (nn.CrossEntropyLoss(), LABELS, "softmax_cross_entropy"),
    "squared error": (nn.MSELoss(), TARGETS, mean_square),
}
CASES = [
    ("kfac", "exact", "expand"),
    ("kfac", "exact", "reduce"),
    ("kfac", "empirical", "expand"),
    ("ekfac", "exact", "expand"),
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("name", "kind", "approximation"), CASES)
def test_products_of_the_weights_are_those_of_curvlinops(loss, name, kind, approximation):
    if (kind, loss) == ("empirical", "squared error"):
        return
    loss_torch, y, output_loss = LOSSES[loss]
    params = {path: jnp.asarray(leaf.detach().numpy()) for path, leaf in NETWORK.named_parameters()}
    vector = random_like(params, 1)
    ours, theirs = {
        "kfac": (kfac, curvlinops.KFACLinearOperator),
        "ekfac": (ekfac, curvlinops.EKFACLinearOperator),
    }[name]
    got = ours(model, params, X, y, kind=kind, output_loss=output_loss, approximation=approximation).product(vector)
    batches = [tuple(torch.from_numpy(part[cut]) for part in (X, y)) for cut in (slice(2), slice(2, 5))]
    options = {"fisher_type": {"exact": "type-2"}.get(kind, kind), "kfac_approx": approximation}
    operator = theirs(NETWORK, loss_torch, list(NETWORK.parameters()), batches, check_deterministic=False, **options)
    want = dict(zip(params, operator @ [to_torch(vector[path]) for path in params], strict=True))
    same = [path for path in params if path != "0.bias" or approximation == "reduce"]
    assert_parity({path: got[path] for path in same}, {path: want[path].detach() for path in same})

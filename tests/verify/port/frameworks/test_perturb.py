"""Constant tensors are moved, the same way at every run; what a port may have as a constant stays."""

import numpy as np

from jaxgrad.verify.port.frameworks._perturb import is_statistic, perturb

PARAMS = {
    "scale": np.ones(4),
    "drawn": np.arange(3.0),
    "frozen": np.ones(4),
    "eps": np.array(1.0),
    "gate": np.zeros(()),
}
BUFFERS = {"bn.running_var": np.ones(50), "mask": np.ones(4)}


def test_what_is_constant_moves_and_is_named():
    params, buffers, moved = perturb(PARAMS, BUFFERS, ["frozen"])
    assert moved == ("scale", "gate", "bn.running_var")
    assert np.ptp(params["scale"]) > 0
    assert params["gate"] != 0
    assert (buffers["bn.running_var"] >= 1).all()
    assert all(params[name] is PARAMS[name] for name in ("drawn", "frozen", "eps"))
    assert buffers["mask"] is BUFFERS["mask"]
    np.testing.assert_array_equal(perturb(PARAMS, {}, [])[0]["scale"], params["scale"])


def test_a_running_statistic_goes_by_its_name():
    assert [is_statistic(name) for name in ("bn.running_mean", "running_var", "num_batches_tracked")] == [1, 1, 0]

"""The port's own weights against torch's."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.mapping._compare_weights import compare_weights

WANT = np.arange(9.0).reshape(3, 3) + 1


@pytest.mark.parametrize(
    ("got", "note"),
    [
        (WANT, ""),
        (WANT.T, "it is the transpose"),
        (WANT[::-1], "it is reversed along axis 0"),
        (WANT.ravel()[[1, 0, *range(2, 9)]].reshape(3, 3), "it holds the same numbers in another order"),
        (2 * WANT, "it holds other numbers (the ratio of the norms is 2)"),
    ],
)
def test_a_wrong_weight_is_told_as_a_rearrangement(got, note):
    bound = SimpleNamespace(
        torch=SimpleNamespace(params={"w": WANT}, buffers={}),
        jax=SimpleNamespace(params={"kernel": got}, rest={}),
        mapping=SimpleNamespace(entries=[SimpleNamespace(jax="kernel", torch=("w",), make=lambda w: w)]),
    )
    (row,) = compare_weights(bound)
    assert (row["jax"], row["torch"], row["note"]) == ("kernel", ["w"], note)
    assert (row["error"] == 0) == (note == "")

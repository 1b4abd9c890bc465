"""The same numbers in another order."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._rearranged import joined

WANT = np.random.default_rng(0).normal(size=(3, 5, 6))


@pytest.mark.parametrize(
    ("got", "name", "words"),
    [
        (np.roll(WANT, 1, 1), "shift", "by one along axis 1"),
        (np.roll(WANT, 2, 1), "shift", "by 2 of 5 along axis 1"),
        (np.roll(WANT, 2, 2), "concat-order", "(at 4 of 6)"),
        (WANT[::-1], None, ""),
        (WANT + 1, None, ""),
        (WANT[:2], None, ""),
    ],
)
def test_a_shift_and_an_exchange_of_two_parts(got, name, words):
    found = joined(SimpleNamespace(want=WANT, got=got, first=SimpleNamespace(path="layer")))
    assert [cause.id for cause in found] == ([name] if name else [])
    assert all(words in str(cause) for cause in found)

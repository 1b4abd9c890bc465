"""The same numbers in another order."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._rearranged import joined, permuted, reduced

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


GRID = np.arange(6).reshape(2, 3).T.ravel()


@pytest.mark.parametrize(
    ("got", "name", "words"),
    [
        (WANT[..., [2, 3, 0, 1, 4, 5]], "concat-order", "3 parts of axis 2 in the order 2, 1, 3"),
        (WANT[..., GRID], "axis-order", "axis 2 as (3, 2) where torch has it as (2, 3)"),
        # a token before the pixels of an image of 2 by 2
        (WANT[:, [0, 1, 3, 2, 4]], "axis-order", "axis 1 as (2, 2)"),
        (WANT[..., [0, 0, 3, 2, 5, 4]], None, ""),
        (WANT + 1, None, ""),
    ],
)
def test_the_entries_of_an_axis_in_another_order(got, name, words):
    found = permuted(SimpleNamespace(want=WANT, got=got, first=SimpleNamespace(path="layer")))
    assert [cause.id for cause in found] == ([name] if name else [])
    assert all(words in str(cause) and cause.proven for cause in found)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 1, 4)])
def test_a_maximum_for_a_mean_is_told_also_where_the_axes_are_kept(shape):
    image = np.random.default_rng(0).normal(size=(3, 4, 5, 5))
    want, got = (run((2, 3)).reshape(shape) for run in (image.mean, image.max))
    call = SimpleNamespace(path="conv", output=image)
    place = SimpleNamespace(path="fc")
    bound = SimpleNamespace(batch=[image])
    e = SimpleNamespace(want=want, got=got, before=[call], around=[], bound=bound, first=place)
    assert [(cause.id, cause.proven) for cause in reduced(e)] == [("pool-kind", True)]

"""A mask that a layer is given: its positions and its number are told, and no overflowing norm proves another cause."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._attention_parts import masks_of
from jaxgrad.verify.port.diagnosis._between_layers import _after_function
from jaxgrad.verify.port.diagnosis._known_functions import ratio, recognise, same
from jaxgrad.verify.port.diagnosis._masks import added_mask

LEAST = np.finfo(np.float64).min
KEPT = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], float)
CAUSAL = np.tril(np.ones((4, 4)))[None]


def evidence(want, got):
    return SimpleNamespace(want=want, got=got, first=SimpleNamespace(path="block", where="input"), sources={})


@pytest.mark.parametrize(
    ("want", "got", "name", "words", "proven"),
    [
        ((1 - KEPT) * LEAST, KEPT * LEAST, "mask", "drops what torch keeps", True),
        ((1 - KEPT) * LEAST, KEPT * -1e9, "mask", "drops what torch keeps", True),
        ((1 - KEPT) * LEAST, -(1 - KEPT), "mask-value", "adds -1 to", True),
        (np.where(KEPT, 0, -np.inf), (1 - KEPT) * -1e4, "mask-value", "adds -10000 to", True),
        ((1 - KEPT) * LEAST, 0 * KEPT, "mask", "drops nothing", True),
        ((1 - CAUSAL) * LEAST, (1 - CAUSAL.swapaxes(1, 2)) * LEAST, "mask", "queries and keys exchanged", True),
        ((1 - CAUSAL) * LEAST, (1 - np.tril(CAUSAL, -1)) * LEAST, "mask", "and other ones", False),
        ((1 - KEPT) * LEAST, np.random.default_rng(0).normal(size=KEPT.shape), None, "", False),
        (1 - KEPT, KEPT, None, "", False),
    ],
)
def test_what_a_mask_keeps_and_adds(want, got, name, words, proven):
    found = added_mask(evidence(want, got))
    assert [(cause.id, cause.proven) for cause in found] == ([(name, proven)] if name else [])
    assert all(words in str(cause) for cause in found)


def test_an_overflowing_norm_proves_nothing():
    want, got = (1 - KEPT) * LEAST, KEPT * LEAST
    assert same(want, want.copy())
    assert not same(got, want)
    assert not same(-want, want)
    assert not same(want, np.zeros_like(want))
    assert ratio(got, want) is None
    assert ratio(want / 2, want) == pytest.approx(0.5)
    assert recognise(got, {"x": want}) is None
    assert not _after_function(evidence(want, got))
    assert not _after_function(evidence(want, -(1 - KEPT)))


@pytest.mark.parametrize(
    ("second", "words"), [([4, 2, 1], "the positions below array 1"), (KEPT.astype(int), "array 1")]
)
def test_a_mask_of_the_batch_comes_before_tokens_that_are_zero_in_the_padding(second, words):
    tokens = (KEPT * [[5, 6, 7, 8]]).astype(int)
    bound = SimpleNamespace(batch=[tokens, np.array(second), np.array([9, 9, 9])])
    found = masks_of(SimpleNamespace(bound=bound, around=[]), {"q": np.zeros((3, 4, 2)), "k": np.zeros((3, 4, 2))})
    first = next(iter(found))
    assert first.startswith(words)
    np.testing.assert_array_equal(found[first][:, 0, 0], KEPT.astype(bool))

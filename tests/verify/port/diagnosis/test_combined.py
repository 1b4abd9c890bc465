"""Two arrays combined otherwise, constants left out, matrices transposed, what is added rolled."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._combined import combined, constant, multiplied, rolled

RNG = np.random.default_rng(0)
A, B, GATE = RNG.normal(size=(3, 5, 6)), RNG.normal(size=(3, 5, 6)), RNG.normal(size=(3, 6))
SQUARE, OTHER = RNG.normal(size=(3, 6, 6)), RNG.normal(size=(3, 6, 6))
CALLS = [SimpleNamespace(path="a", output=SQUARE), SimpleNamespace(path="b", output=OTHER)]


def evidence(want, got, **sources):
    place = SimpleNamespace(path="layer")
    return SimpleNamespace(want=want, got=got, first=place, sources=sources, before=CALLS, around=[], under=dict)


@pytest.mark.parametrize(
    ("search", "want", "got", "name", "words"),
    [
        (combined, A * B, A + B, "operation", "torch a times b"),
        (combined, A * GATE[:, None], A + GATE[:, None], "operation", "gate"),
        (combined, A * B, A * B + GATE.sum(), None, ""),
        (constant, A + np.eye(5, 6), A, "addend-missing", "torch adds the same numbers"),
        (constant, A + B, A, None, ""),
        (multiplied, SQUARE @ OTHER, SQUARE @ OTHER.swapaxes(1, 2), "axis-order", "b transposed"),
        (rolled, A + B, A + np.roll(B, (2, 1), (1, 2)), "shift", "by 2 of 5 along axis 1 and by 1 of 6 along axis 2"),
        (rolled, A + B, A + RNG.permutation(B.ravel()).reshape(B.shape), "axis-order", "another order"),
        (rolled, A + B, A + 2 * B, None, ""),
    ],
)
def test_what_is_found_and_what_is_not(search, want, got, name, words):
    found = search(evidence(want, got, a=A, **({"b": B} if search is combined else {}), gate=GATE))
    assert [cause.id for cause in found] == ([name] if name else [])
    assert all(words in str(cause) for cause in found)


def test_an_order_that_is_not_known_is_not_proven():
    (found,) = rolled(evidence(A + B, A + RNG.permutation(B.ravel()).reshape(B.shape), a=A))
    assert not found.proven

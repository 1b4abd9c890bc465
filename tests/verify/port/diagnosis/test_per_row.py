"""Rows that are divided by a norm, or less by a mean, on one side only."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._per_row import row_factor, row_shift

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 6))
NORM = np.sqrt((X**2).sum(-1, keepdims=True))
LOG = np.log(np.exp(X).sum(-1, keepdims=True))


def evidence(want, got):
    place, calls = SimpleNamespace(path="layer"), [SimpleNamespace(path="mlp", output=X)]
    return SimpleNamespace(want=want, got=got, first=place, sources={}, before=calls, around=[])


@pytest.mark.parametrize(
    ("search", "want", "got", "name", "words"),
    [
        (row_factor, X / NORM, X, "normalise", "torch divides by the norm of mlp, JAX does not"),
        # behind a product with a matrix the rows still differ by their norms
        (row_factor, X @ W, X / NORM @ W, "normalise", "JAX divides by the norm of mlp, torch does not"),
        (row_factor, X / X.std(-1, keepdims=True), X, "normalise", "the standard deviation"),
        (row_factor, X / NORM, X / np.sqrt(NORM**2 + 1e-2), "epsilon", "with 0.01 added under its root"),
        (row_factor, X / (NORM + 1e-6), X / NORM, "epsilon", "torch divides by the norm of mlp with 1e-06 added to it"),
        (row_factor, X, 2 * X, None, ""),
        (row_factor, X, RNG.normal(size=(5, 1)) * X, None, ""),
        (row_factor, X, X[:3], None, ""),
        (row_shift, X - LOG, X, "centring", "torch subtracts the logarithm of the sum of exponentials of mlp"),
        (row_shift, X, X - X.mean(-1, keepdims=True), "centring", "JAX subtracts the mean of mlp"),
        (row_shift, X, X + RNG.normal(size=(5, 1)), None, ""),
    ],
)
def test_what_is_found_and_what_is_not(search, want, got, name, words):
    found = search(evidence(want, got))
    assert [cause.id for cause in found] == ([name] if name else [])
    assert all(words in str(cause) and cause.proven for cause in found)

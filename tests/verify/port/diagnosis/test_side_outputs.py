"""Whole numbers, truth values and complex numbers that only one side returns so."""

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._side_outputs import side_output

X = np.random.default_rng(0).normal(size=(4, 5))
TOP, SPECTRUM = X.argmax(-1), np.fft.fft(X)


@pytest.mark.parametrize(
    ("want", "got", "words"),
    [
        (TOP, X.argmin(-1), "JAX returns the index of the minimum along axis 1 of logits as labels"),
        (TOP, TOP + 1, "JAX's labels is torch's plus 1 everywhere"),
        (X > 0, X > 0.5, "where it is above 0.5"),
        (X > 0, ~(X > 0), "where it is below 0"),
        (SPECTRUM, SPECTRUM.conj(), "the conjugate of torch's labels"),
        (SPECTRUM, SPECTRUM / 5, "1/the last axis times torch's"),
    ],
)
def test_what_an_output_is_made_of_is_proven(want, got, words):
    (found,) = side_output(want, got, {"logits": X}, "labels")
    assert found.proven
    assert words in str(found)


def test_other_numbers_are_told_and_not_proven():
    (found,) = side_output(TOP, (TOP * 3 + np.arange(4)) % 5, {"logits": X}, "labels")
    assert not found.proven
    assert "of 4 places; torch has the index of the maximum along axis 1 of logits" in str(found)
    assert side_output(X, X + 1, {}, "labels") == []

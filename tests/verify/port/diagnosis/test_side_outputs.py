"""Whole numbers, truth values and complex numbers that only one side returns so."""

import flax.linen
import numpy as np
import pytest
import torch

from jaxgrad import verify
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


class Classes(torch.nn.Linear):
    """Returns the class beside the scores."""

    def forward(self, x):
        y = super().forward(x)
        return {"logits": y, "labels": y.argmax(-1)}


class Smallest(flax.linen.Module):
    """The port, which takes the smallest score."""

    @flax.linen.compact
    def __call__(self, x):
        y = flax.linen.Dense(3)(x)
        return {"labels": y.argmin(-1), "logits": y}


def test_a_check_says_which_whole_numbers_jax_returns():
    squares = (lambda o, y: ((o["logits"] - y) ** 2).mean(),) * 2
    pair = verify.pair(torch=Classes(5, 3).eval(), jax=Smallest(), loss=squares, batch=(X, np.zeros((4, 3))))
    report = pair.check(["value"], dtypes=("float64",))
    assert not report.ok
    (found,) = report.causes
    assert (found.id, found.proven) == ("output", True)
    assert "the index of the minimum along axis 1 of output.logits as output.labels" in str(found)

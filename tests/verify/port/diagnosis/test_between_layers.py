"""Functions, sums and pools between two layers: what fits as well as another is not told as if it alone did."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch
from flax import linen as nn

from jaxgrad.verify.port.diagnosis._between_layers import _activation, _temperature
from jaxgrad.verify.port.diagnosis._images import pool_forms
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, same

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 4, 6))


def evidence(want, got, **sources):
    place = SimpleNamespace(path="layer", where="output")
    return SimpleNamespace(want=want, got=got, first=place, sources=sources, passes=None, failed=[])


def test_a_relu_that_no_number_shows_is_told_beside_nothing():
    positive = np.abs(X)
    (found,) = _activation(evidence(positive, ELEMENTWISE["silu"](positive), fc=positive))
    assert found.id == "activation"
    assert "relu or nothing" in found.text
    assert "Leave it out" not in found.fix
    (found,) = _activation(evidence(X, ELEMENTWISE["silu"](X), fc=X))
    assert "where torch applies nothing" in found.text
    assert found.fix == "Leave it out."


def test_one_addend_under_torchs_function_is_a_residual_left_out():
    want, got = np.maximum(X + Y, 0), np.maximum(X, 0)
    (found,) = _activation(evidence(want, got, **{"the input of relu": X + Y, "se": X, "the input of layer": Y}))
    assert (found.id, found.proven) == ("residual", True)
    assert "passes se on alone" in found.text


@pytest.mark.parametrize(
    ("run", "words"),
    [(nn.max_pool, "has 'SAME' padding, which puts more at the end"), (nn.avg_pool, "takes the mean with 'SAME' pad")],
)
def test_a_pool_that_pads_more_at_the_end_is_among_the_forms(run, words):
    x = RNG.normal(size=(2, 3, 8, 9))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        made = np.asarray(run(np.moveaxis(x, 1, -1), (3, 3), strides=(2, 2), padding="SAME"))
    forms = pool_forms(torch.nn.MaxPool2d(3, 2, 1))
    (told,) = [w for _, w, form in forms if same(form(torch.tensor(x)).numpy(), np.moveaxis(made, -1, 1))]
    assert told.startswith(words)


@pytest.mark.parametrize(("factor", "told"), [(1.01, "times 1.01, torch times 1"), (0.5, "times 0.5"), (1.0, "")])
def test_the_softmax_of_a_multiple_is_a_temperature(factor, told):
    softmax = ELEMENTWISE["softmax over the last axis"]
    found = _temperature(evidence(softmax(X), softmax(factor * X), scores=X))
    assert [(cause.id, cause.proven) for cause in found] == ([("temperature", True)] if told else [])
    assert all(told in str(cause) for cause in found)


def test_another_function_is_no_temperature():
    softmax = ELEMENTWISE["softmax over the last axis"]
    assert not _temperature(evidence(softmax(X), softmax(X**2), scores=X))
    assert not _temperature(evidence(X, 2 * X, scores=X))

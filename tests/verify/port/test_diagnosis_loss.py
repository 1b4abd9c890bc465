"""The causes of a loss with soft targets, by numbers alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._loss import in_loss

RNG = np.random.default_rng(0)
OUTPUT = RNG.normal(size=(3, 7))
# a batch is given in float32, and judged in float64
TARGET = RNG.normal(size=(3, 7)).astype(np.float32).astype(np.float64)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def distillation(target=0.04, output=0.1):
    return -(np.exp(log_softmax(TARGET / target)) * log_softmax(OUTPUT / output)).sum(-1)


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (distillation(target=0.07).mean(), "temperature"),
        (distillation(output=0.2).mean(), "temperature"),
        (distillation().sum(), "reduction"),
    ],
)
def test_a_loss_of_soft_targets_is_told_by_its_temperature_or_its_mean(ours, name):
    found = in_loss(SimpleNamespace(batch=(OUTPUT, TARGET.astype(np.float32))), OUTPUT, distillation().mean(), ours)
    assert [(one.id, one.proven) for one in found] == [(name, True)]

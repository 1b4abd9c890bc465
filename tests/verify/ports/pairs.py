"""The pairs of the ports, with seeded batches of odd sizes."""

import numpy as np
import torch

from jaxgrad.verify import pair
from tests.verify.ports import in_linen, in_torch


def _images(classes=10):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3, 16, 16)), rng.integers(0, classes, 2)


def _words(length, tags):
    rng = np.random.default_rng(0)
    return rng.integers(0, 37, (3, length)), rng.integers(0, tags, (3, length))


def _port(name, batch, **given):
    def build():
        torch.manual_seed(0)
        module = getattr(in_torch, name)().eval()
        return pair(torch=module, jax=getattr(in_linen, name)(), loss="cross_entropy", batch=batch, **given)

    return build


PORTS = {
    "resnet20": _port("ResNet20", _images()),
    "vit": _port("Vit", _images()),
    "gpt": _port("Gpt", _words(12, 37)),
    "tagger": _port("Tagger", _words(9, 5)),
}

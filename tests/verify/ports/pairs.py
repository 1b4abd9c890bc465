"""The pairs of the ports in both Flax APIs, with seeded batches of odd sizes."""

import numpy as np
import torch
from flax import nnx

from jaxgrad.verify import pair
from tests.verify.ports import in_linen, in_nnx, in_torch


def _images(classes=10):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3, 16, 16)), rng.integers(0, classes, 2)


def _words(length, tags):
    rng = np.random.default_rng(0)
    return rng.integers(0, 37, (3, length)), rng.integers(0, tags, (3, length))


BATCHES = {"ResNet20": _images(), "Vit": _images(), "Gpt": _words(12, 37), "Tagger": _words(9, 5)}


def _port(name, api):
    def build():
        torch.manual_seed(0)
        module = getattr(in_torch, name)().eval()
        port = getattr(in_linen, name)() if api == "linen" else getattr(in_nnx, name)(nnx.Rngs(0))
        return pair(torch=module, jax=port, loss="cross_entropy", batch=BATCHES[name])

    return build


PORTS = {f"{name.lower()}-{api}": _port(name, api) for name in BATCHES for api in ("linen", "nnx")}

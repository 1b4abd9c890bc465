"""Directions that both sides share: drawn by torch name, carried across by the mapping."""

import zlib

import numpy as np

from jaxgrad.verify.port.mapping._model_pair import TorchHalf

__all__ = ["direction"]


def direction(bound: TorchHalf, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a seeded direction for every torch parameter, of the size of its weights; frozen ones stay still."""
    drawn = {}
    for name, value in bound.torch.params.items():
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
        size = float(np.sqrt(np.mean(value**2))) if value.size else 0.0
        still = name in bound.torch.frozen
        drawn[name] = (0.0 if still else max(size, 0.05)) * rng.normal(size=value.shape)
    return drawn

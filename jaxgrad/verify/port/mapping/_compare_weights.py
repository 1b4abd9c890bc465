"""The port's own weights against torch's, one by one, and how a wrong one is a rearrangement of the right one."""

from typing import Any

import numpy as np

from jaxgrad.verify.judge import ratio_and_cosine, relative
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.judge._tolerances import OWN_WEIGHT
from jaxgrad.verify.port.mapping._model_pair import ModelPair

__all__ = ["compare_weights"]


def compare_weights(bound: ModelPair) -> list[dict[str, Any]]:
    """Compare the port's own weights with torch's, and name rearrangements."""
    tensors: dict[str, Any] = {**bound.torch.params, **bound.torch.buffers}
    own = {**flatten(bound.jax.params), **flatten(bound.jax.rest)}
    rows = []
    for entry in bound.mapping.entries:
        want, got = np.asarray(entry.make(*(tensors[k] for k in entry.torch))), np.asarray(own[entry.jax], np.float64)
        error = relative(got, want)
        note = "" if error < OWN_WEIGHT else _rearrangement(got, want)
        rows.append({"jax": entry.jax, "torch": list(entry.torch), "error": error, "note": note})
    return rows


def _rearrangement(got: np.ndarray, want: np.ndarray) -> str:
    """Say how one array is a rearrangement of another."""
    if got.ndim >= 2 and got.shape == got.T.shape and relative(got, want.T) < OWN_WEIGHT:
        return "it is the transpose"
    for axis in range(got.ndim):
        if relative(np.flip(got, axis), want) < OWN_WEIGHT:
            return f"it is reversed along axis {axis}"
    if relative(np.sort(got.ravel()), np.sort(want.ravel())) < OWN_WEIGHT:
        return "it holds the same numbers in another order"
    ratio, _ = ratio_and_cosine(got, want)
    return f"it holds other numbers (the ratio of the norms is {ratio:.3g})"

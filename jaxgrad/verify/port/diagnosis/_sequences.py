"""Causes inside of recurrent layers: direction, start, gates, padding."""

from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import same
from jaxgrad.verify.report._records import Cause

__all__ = ["recurrent"]


def recurrent(e: Evidence) -> list[Cause]:
    """Another direction, another start."""
    import torch

    module = dict(e.bound.torch.at("float64").named_modules())[e.pair.call.path]
    params = {n: torch.from_numpy(np.array(w)) for n, _ in module.named_parameters() if (w := e.weight(n)) is not None}
    x, time = torch.from_numpy(e.inputs[0].copy()), 1 if e.torch.get("batch_first") else 0
    layers = e.torch.get("num_layers", 1) * (2 if e.torch.get("bidirectional") else 1)
    one = torch.ones(layers, x.shape[1 - time], module.hidden_size, dtype=x.dtype)
    start = (one, one) if e.torch["kind"] == "LSTM" else one

    def run(*args: Any) -> Any:
        with torch.no_grad():
            return torch.func.functional_call(module, params, args)[0].numpy()

    if same(np.flip(run(x.flip(time)), time), e.got) or same(run(x.flip(time)), e.got):
        return proven(e, "direction", "JAX reads the sequence backwards.", "Set reverse=False.")
    if same(run(x, start), e.got):
        return proven(e, "state", "JAX starts from a state of ones, torch from zeros.", "Start from zeros.")
    if time == 1 and same(run(x.swapaxes(0, 1)).swapaxes(0, 1), e.got):
        return proven(e, "time-axis", "JAX runs along the batch axis.", "Set time_major as the data is.")
    return []

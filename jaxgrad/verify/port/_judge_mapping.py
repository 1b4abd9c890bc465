"""The verdict on a mapping: a weight without a counterpart is a difference, whatever the batch shows of it."""

import numpy as np

from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.report._records import Leaf, Result

__all__ = ["judge_mapping"]

TIED = "tied in torch, leaves of their own in JAX: the first training step moves them apart"


def judge_mapping(pair: ModelPair) -> list[Result]:
    """Return what is wrong with a mapping; nothing where every weight has its counterpart."""
    mapping, side = pair.mapping, pair.torch
    # a buffer that is a table of JAX's own has its counterpart in the code
    tables = {key for key in side.settled if key in side.buffers or key in side.frozen}
    told = mapping.unpaired
    left = [key for key in mapping.unused if key not in tables]
    leaves = [Leaf(key, "", np.inf, note=told.get(key) or "no JAX leaf takes it") for key in left]
    leaves += [Leaf("", p, np.inf, note=told.get(p) or "no torch key fills it") for p in mapping.unfilled]
    names = ", ".join(leaf.torch or leaf.jax for leaf in leaves[:3])
    found = [Result("mapping", leaves, "differ", f"{len(leaves)} weights without a counterpart: {names}")]
    apart = [Leaf(key, ", ".join(paths), np.inf, note=TIED) for key, paths in pair.untied().items()]
    return found * bool(leaves) + [Result("tied weights", apart, "differ", TIED)] * bool(apart)

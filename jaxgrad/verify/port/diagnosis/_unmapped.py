"""Weights without a counterpart: a cause by themselves, which comes before what is seen of them further on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.report._records import Cause, Leaf, Result

__all__ = ["with_unmapped"]

SEEN_OF_THEM = ("stop-gradient", "gradient-scale", "scale", "unknown")
"""What a check sees of a weight that the other side lacks: no gradient, and an output without it."""


TOLD_BETTER = ("bias-missing", "layer-scale", "scale-missing", "norm-missing", "layer-missing")
"""Causes that say what the weight was for, and what to write."""


def with_unmapped(bound: Any, results: Sequence[Result], causes: list[Cause]) -> list[Cause]:
    """Put weights without a counterpart first, and leave out what is only seen of them.

    A layer that leaves out its bias, a norm or a scale that JAX lacks are told by the cause that says so.

    Args:
        bound: The pair.
        results: What was judged, the mapping among it.
        causes: What was found so far.
    """
    told = {one.path for one in causes if one.id in TOLD_BETTER and one.proven}
    leaves = [leaf for result in results if result.name == "mapping" for leaf in result.leaves]
    found = [one for one in (_of(bound, leaf) for leaf in leaves) if one.path not in told]
    if not found:
        return causes
    places = {one.path for one in found}
    return found + [one for one in causes if one.id not in SEEN_OF_THEM or (one.path not in places and one.path)]


def _of(bound: Any, leaf: Leaf) -> Cause:
    """Return the cause that one tensor or leaf without a counterpart is."""
    if leaf.torch:
        owner = bound.torch.aliases.get(leaf.torch, leaf.torch)
        shape = list(bound.torch.outline.get(owner, ()))
        text = f"torch's {leaf.torch} {shape} has no counterpart in JAX: {leaf.note}."
        mend = "Give the JAX layer such a weight, map it by a rule, or leave it out in torch."
        return cause("mapping", text, mend, leaf.torch.rpartition(".")[0], proven=True)
    shape = list(np.shape({**flatten(bound.jax.params), **flatten(bound.jax.rest)}.get(leaf.jax, ())))
    layer, links = leaf.jax.rpartition("/")[0], {jax: path for path, jax in bound.mapping.links}
    text = f"JAX's {leaf.jax} {shape} has no counterpart in torch: {leaf.note}."
    mend = "Leave it out (a bias by use_bias=False), or map it by a rule."
    return cause("mapping", text, mend, links.get(layer, layer), proven=True)

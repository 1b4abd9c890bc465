"""Before anything is compared: is every weight mapped once, are the settings alike, and what do differences cost?"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.port._about import about
from jaxgrad.verify.port._compare_initial import initial
from jaxgrad.verify.port._compare_rates import rates
from jaxgrad.verify.port._compare_settings import settings
from jaxgrad.verify.port._prove_mapping import agrees, first_examples, proofs, trace
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.report._audit import Audit, Setting

__all__ = ["Audit", "audit"]


def audit(bound: ModelPair, *, prove: bool = True) -> Audit:
    """Audit mapping and settings.

    Args:
        bound: The pair.
        prove: Whether ambiguous entries are proven, by the port's own weights or by the gradients of both models.

    Returns:
        The findings.
    """
    begun = time.perf_counter()
    with precision():
        bound = bound.prepared
        small = first_examples(bound)
        # weights of the port's own are judged one by one; torch's need a proof only where shapes prove nothing
        own = bound.options.weights == "own"
        asked = prove and (own or any(e.ambiguous for e in bound.mapping.entries))
        traced, failure = _attempt(trace, small)
        shown: dict[str, str] = {}
        if asked and (traced is not None or own):
            shown, wrong = _attempt(proofs, small, traced)
            shown, failure = shown or {}, failure or wrong
        differing = settings(bound, None if traced is None else traced[0][0])
        if traced is not None and any(s.name in MADE_UP_FOR and not s.harmless for s in differing):
            same, wrong = _attempt(agrees, small, traced)
            failure = failure or wrong
            differing = [_made_up_for(s) if same and s.name in MADE_UP_FOR else s for s in differing]
        dropping, remarks = rates(bound)
        drawn, others = initial(bound)
        differing, remarks = [*differing, *dropping, *drawn], [*remarks, *others]
    entries = [
        {"jax": e.jax, "torch": list(e.torch), "rule": e.rule, "ambiguous": e.ambiguous,
         "proof": shown.get(e.jax, "") if e.ambiguous or own else ""}
        for e in bound.mapping.entries
    ]  # fmt: skip
    found = Audit(
        entries,
        list(bound.mapping.unused),
        list(bound.mapping.unfilled),
        _conflicts(bound),
        differing,
        _notes(bound) + remarks + ([f"nothing is proven by running the models: {failure}"] if failure else []),
    )
    found.seconds, found.meta = time.perf_counter() - begun, about(bound)
    return found


def _attempt(run: Callable[..., Any], *args: Any) -> tuple[Any, str]:
    """Run the models, and return what comes out, or in words why nothing does: an audit stands without."""
    try:
        return run(*args), ""
    except Exception as error:
        return None, first_line(error)


MADE_UP_FOR = ("padding", "stride", "dilation", "num_groups", "num_heads")
"""Settings that code around a layer can stand for: a border added by hand, a layer that pads by itself."""


def _made_up_for(setting: Setting) -> Setting:
    """Return a setting that differs while the outputs of the models are the same."""
    effect = "the outputs agree all the same: the code around it makes up for it"
    return dataclasses.replace(setting, effect=effect, harmless=True)


def _conflicts(bound: ModelPair) -> list[str]:
    """Say of what is left over on both sides which tensor is nearest, with the shapes."""
    tensors = {**bound.torch.params, **bound.torch.buffers}
    leaves = {**flatten(bound.jax.params), **flatten(bound.jax.rest)}
    mapping, found = bound.mapping, []
    for name in (*mapping.unused, *mapping.unfilled):
        owner = bound.torch.aliases.get(name, name)
        shape = np.shape(tensors[owner] if owner in tensors else leaves[name])
        why = mapping.unpaired.get(name, "")
        found.append(f"{name} {list(shape)}{why and ': '}{why}")
    return found


def _notes(bound: ModelPair) -> list[str]:
    """Say what else a reader should know."""
    notes = bound.mapping.undecided
    if bound.torch.frozen:
        notes.append(f"frozen in torch (requires_grad=False): {', '.join(sorted(bound.torch.frozen))}")
    if bound.torch.aliases:
        notes.append(f"tied in torch: {', '.join(f'{a} = {b}' for a, b in bound.torch.aliases.items())}")
    if bound.mapping.constants:
        names = ", ".join(bound.mapping.constants)
        notes.append(f"without a counterpart, and no weights (constants, or nothing that the loss depends on): {names}")
    if bound.mapping.folded:
        names = ", ".join(bound.mapping.folded)
        notes.append(f"the port holds the kernel that weight norm makes: that of torch is folded too, in {names}")
    if bound.torch.perturbed:
        count = len(bound.torch.perturbed)
        notes.append(f"{count} constant tensors are moved a little on both sides, since they would hide differences")
    return notes

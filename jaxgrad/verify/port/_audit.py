"""Before anything is compared: is every weight mapped once, are the settings alike, and what do differences cost?"""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.port._compare_settings import Setting, settings
from jaxgrad.verify.port._prove_mapping import agrees, first_examples, proofs, trace
from jaxgrad.verify.port.frameworks._contexts import precision
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.report._records import _plain

__all__ = ["Audit", "audit"]


@dataclasses.dataclass
class Audit:
    """The result of ``pair.audit()``."""

    entries: list[dict[str, Any]]
    """``jax``, ``torch``, ``rule``, ``ambiguous`` (why, or empty), ``proof`` of an ambiguous one."""
    unused: list[str]
    """Torch keys that fill nothing."""
    unfilled: list[str]
    """JAX leaves that nothing fills."""
    conflicts: list[str]
    """Layers that belong together by name and do not fit by shape."""
    settings: list[Setting]
    notes: list[str]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the weights are mapped one to one and no setting changes the result."""
        disproved = any(e["proof"].startswith("wrong") for e in self.entries)
        return not (self.unused or self.unfilled or disproved) and all(s.harmless for s in self.settings)

    @property
    def ambiguous(self) -> list[dict[str, Any]]:
        """The entries that shapes alone do not prove."""
        return [entry for entry in self.entries if entry["ambiguous"]]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Return the audit as text."""
        lines = [f"{len(self.entries)} JAX leaves filled, {len(self.ambiguous)} of them ambiguous by shape"]
        proofs: dict[str, int] = {}
        for entry in self.ambiguous:
            proofs[entry["proof"] or "not proven"] = proofs.get(entry["proof"] or "not proven", 0) + 1
        lines += [f"  {count} {proof}" for proof, count in proofs.items()]
        wrong = [e for e in self.entries if e["proof"].startswith("wrong")]
        lines += [f"differs: {', '.join(e['torch'])} <-> {e['jax']}: {e['proof']}" for e in wrong]
        lines += [f"torch key without a place: {key}" for key in self.unused]
        lines += [f"JAX leaf without a value: {path}" for path in self.unfilled]
        lines += [f"shapes do not fit: {text}" for text in self.conflicts]
        lines += _grouped(self.settings)
        lines += [f"note: {note}" for note in self.notes]
        open_ = sum(entry["proof"].startswith("not proven") for entry in self.ambiguous)
        verdict = "the audit found nothing" if self.ok else "the audit found differences"
        return "\n".join([*lines, "", verdict + (f"; {open_} leaves are not proven: run the check" if open_ else "")])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"ok": self.ok, **_plain(self)}

    def to_json(self) -> str:
        """Return the audit as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1)


def _grouped(found: list[Setting]) -> list[str]:
    """Return a line for every setting; layers that share it are counted."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for s in found:
        groups.setdefault((s.name, s.torch_value, s.jax_value, s.effect, s.harmless), []).append(s)
    lines = []
    for first, *others in groups.values():
        where = " <-> ".join(filter(None, (first.torch, first.jax)))
        more = f" and {len(others)} more" if others else ""
        lines.append(
            f"{'note' if first.harmless else 'differs'}: {where}{more}: {first.name}:"
            f" {first.torch_value} in torch, {first.jax_value} in JAX; {first.effect}"
        )
    return lines


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
        _notes(bound) + ([f"nothing is proven by running the models: {failure}"] if failure else []),
    )
    found.seconds = time.perf_counter() - begun
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
    """Pair up what is left over on both sides by likeness of names, to say which shapes do not fit."""
    from jaxgrad.verify.port.mapping._search import _likeness

    tensors = {**bound.torch.params, **bound.torch.buffers}
    leaves = {**flatten(bound.jax.params), **flatten(bound.jax.rest)}
    found = []
    for key in bound.mapping.unused:
        rivals = [(p, _likeness(key, p)) for p in bound.mapping.unfilled if key.endswith("bias") == p.endswith("bias")]
        if rivals and key in tensors:
            path = max(rivals, key=lambda item: item[1])[0]
            if tensors[key].shape == np.shape(leaves[path]):
                # left over for another reason
                continue
            found.append(f"{key} {tensors[key].shape} and {path} {np.shape(leaves[path])}")
    return found


def _notes(bound: ModelPair) -> list[str]:
    """Say what else a reader should know."""
    notes = []
    if bound.torch.frozen:
        notes.append(f"frozen in torch (requires_grad=False): {', '.join(sorted(bound.torch.frozen))}")
    if bound.torch.aliases:
        notes.append(f"tied in torch: {', '.join(f'{a} = {b}' for a, b in bound.torch.aliases.items())}")
    if bound.mapping.constants:
        names = ", ".join(bound.mapping.constants)
        notes.append(f"without a counterpart, and no weights (constants, or nothing that the loss depends on): {names}")
    if bound.torch.perturbed:
        count = len(bound.torch.perturbed)
        notes.append(f"{count} constant tensors are moved a little on both sides, since they would hide differences")
    return notes

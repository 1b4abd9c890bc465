"""What an audit found: plain data, and its forms."""

import dataclasses
import json
from typing import Any

from jaxgrad.verify.report._records import _plain

__all__ = ["Audit", "Setting"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting that differs."""

    torch: str
    jax: str
    name: str
    torch_value: str
    jax_value: str
    effect: str
    """What it does to the numbers, with a size."""
    harmless: bool = False
    """Whether a comparison with equal weights is not touched by it."""


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

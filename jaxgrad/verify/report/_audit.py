"""What an audit found, as plain data: the mapping of the weights, and the settings that differ."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from jaxgrad.verify.report._document import Column, Document, Judged, Table
from jaxgrad.verify.report._forms import Forms
from jaxgrad.verify.report._json import plain
from jaxgrad.verify.report._words import compared

__all__ = ["Audit", "Setting"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting that differs."""

    torch: str
    """The torch layer; empty where only the JAX model has it."""
    jax: str
    """The JAX layer; empty where it is a function without a name."""
    name: str
    """What is set: ``epsilon``, ``padding``, ``dropout rate``."""
    torch_value: str
    """What it is in torch, in words."""
    jax_value: str
    """What it is in JAX."""
    effect: str
    """What it does to the numbers, with a size."""
    harmless: bool = False
    """Whether a comparison with equal weights is not touched by it."""


@dataclasses.dataclass
class Audit(Forms):
    """The result of ``pair.audit()``."""

    entries: list[dict[str, Any]]
    """``jax``, ``torch``, ``rule``, ``ambiguous`` (why, or empty), ``proof`` of an ambiguous one."""
    unused: list[str]
    """Torch keys that fill nothing."""
    unfilled: list[str]
    """JAX leaves that nothing fills."""
    conflicts: list[str]
    """Of what is left over, the shape, what is nearest on the other side, and why it does not fit."""
    settings: list[Setting]
    """What is set otherwise, and what that does."""
    notes: list[str]
    """What else a reader should know."""
    seconds: float = 0.0
    """How long the audit took."""
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What was audited: the names of the models, versions, the day."""

    @property
    def ok(self) -> bool:
        """Whether the weights are mapped one to one and no setting changes the result."""
        disproved = any(e["proof"].startswith("wrong") for e in self.entries)
        return not (self.unused or self.unfilled or disproved) and all(s.harmless for s in self.settings)

    @property
    def ambiguous(self) -> list[dict[str, Any]]:
        """The entries that shapes alone do not prove."""
        return [entry for entry in self.entries if entry["ambiguous"]]

    def document(self) -> Document:
        """Return what every form is written from."""
        undecided = sum(entry["proof"].startswith("not proven") for entry in self.ambiguous)
        verdict = "the audit found nothing" if self.ok else "the audit found differences"
        return Document(
            command="audit",
            ok=self.ok,
            verdict=verdict + (f"; {undecided} leaves are not proven: run the check" if undecided else ""),
            compared=compared(self.meta),
            summary=list(self._summary()),
            tables=[self._settings(), self._entries()],
            wrong=[*self._unmapped(), *_grouped(s for s in self.settings if not s.harmless)],
            notes=[*_grouped(s for s in self.settings if s.harmless), *self.notes],
            judged=list(self._judged()),
            seconds=self.seconds,
            date=self.meta.get("date", ""),
            data=lambda: {"ok": self.ok, **plain(self)},
        )

    def _summary(self) -> Iterator[str]:
        """Yield how many leaves are filled, and how sure that is."""
        yield f"{len(self.entries)} JAX leaves filled, {len(self.ambiguous)} of them ambiguous by shape"
        proofs: dict[str, int] = {}
        for entry in self.ambiguous:
            proofs[entry["proof"] or "not proven"] = proofs.get(entry["proof"] or "not proven", 0) + 1
        yield from (f"  {count} {proof}" for proof, count in proofs.items())

    def _unmapped(self) -> Iterator[str]:
        """Yield what is wrong with the mapping."""
        wrong = [e for e in self.entries if e["proof"].startswith("wrong")]
        yield from (f"differs: {', '.join(e['torch'])} <-> {e['jax']}: {e['proof']}" for e in wrong)
        told = {text.split(" ", 1)[0]: text for text in self.conflicts}
        yield from (f"torch key without a place: {told.get(key, key)}" for key in self.unused)
        yield from (f"JAX leaf without a value: {told.get(path, path)}" for path in self.unfilled)

    def _settings(self) -> Table:
        """Return a row for every setting that differs, those that change numbers first."""
        columns = (Column("torch layer", "path"), Column("setting"), Column("torch", "path"), Column("JAX", "path"),
                   Column("effect"), Column("verdict", "verdict"), Column("JAX layer", "path"))  # fmt: skip
        rows = [
            (s.torch, s.name, s.torch_value, s.jax_value, s.effect, "harmless" if s.harmless else "differ", s.jax)
            for s in sorted(self.settings, key=lambda s: s.harmless)
        ]
        return Table("Settings that differ", columns, rows, in_text=False)

    def _entries(self) -> Table:
        """Return a row for every leaf that is filled."""
        columns = (Column("JAX leaf", "path"), Column("torch key", "path"), Column("made by", "path"),
                   Column("proof", "path"), Column("ambiguous", "path"))  # fmt: skip
        rows = [(e["jax"], ", ".join(e["torch"]), e["rule"], e["proof"], e["ambiguous"]) for e in self.entries]
        return Table("Mapping of the weights", columns, rows, folded=True, in_text=False)

    def _judged(self) -> Iterator[Judged]:
        """Yield a test case for the mapping, and one for every kind of setting."""
        wrong, told = list(self._unmapped()), "\n".join(self._summary())
        message = f"{wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}" if wrong else ""
        verdict = "differ" if wrong else "agree"
        yield Judged("jaxgrad.audit", "mapping", verdict, self.seconds, message, "\n".join(wrong), told)
        for name in sorted({s.name for s in self.settings}):
            found = [s for s in self.settings if s.name == name]
            differing = list(_grouped(s for s in found if not s.harmless))
            harmless = "\n".join(_grouped(s for s in found if s.harmless))
            verdict, message = "differ" if differing else "agree", differing[0] if differing else ""
            yield Judged("jaxgrad.audit", name, verdict, 0.0, message, "\n".join(differing), harmless)


def _grouped(found: Iterable[Setting]) -> Iterator[str]:
    """Yield a line for every setting; layers that share it are counted."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for s in found:
        groups.setdefault((s.name, s.torch_value, s.jax_value, s.effect), []).append(s)
    for first, *others in groups.values():
        where = " <-> ".join(filter(None, (first.torch, first.jax)))
        more = f" and {len(others)} more" if others else ""
        differs = "" if first.harmless else "differs: "
        yield (
            f"{differs}{where}{more}: {first.name}: {first.torch_value} in torch, {first.jax_value} in JAX;"
            f" {first.effect}"
        )

"""What a check found: plain data, and its table, JSON and JUnit forms."""

import dataclasses
import io
import json
import math
import xml.etree.ElementTree as ET
from typing import Any

__all__ = ["Cause", "Divergence", "LayerError", "Leaf", "Report", "Result", "Slot"]

SHOWN = 8
"""How many divergences the table lists."""


Slot = tuple[str, int]
"""A call: the path of the module, and how often it was called before."""


@dataclasses.dataclass
class Leaf:
    """One array of one quantity on both sides."""

    torch: str
    """Its name on the torch side."""
    jax: str
    """The JAX leaves it corresponds to."""
    error: float
    """Relative L2 error in float64; infinite where a side lacks it, has another shape, or one NaN."""
    max_abs: float = 0.0
    index: tuple[int, ...] = ()
    """Where the greatest difference is."""
    got: float = 0.0
    """JAX's number there."""
    want: float = 0.0
    """torch's number there."""
    ratio: float = 1.0
    """The norm of JAX's array over torch's."""
    cosine: float = 1.0
    noise_by: dict[str, float] = dataclasses.field(default_factory=dict)
    """The error at every working precision, in multiples of torch's own error there."""
    note: str = ""
    size: int = 0
    mismatched: int = 0
    """How many entries differ by more than the definition allows of the largest."""

    @property
    def noise(self) -> float | None:
        """The largest of these multiples."""
        return max(self.noise_by.values(), default=None)


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The first place where the models part; prints as its path."""

    path: str
    """The torch layer; ``loss`` for the loss, ``(model)`` for the model's own code outside of its layers."""
    stage: str
    """``"forward"`` or ``"backward"``; the name of the quantity where neither pass shows it."""
    where: str
    """``"output"`` for the layer itself, ``"input"`` for the code before it, ``"weights"`` for its parameters."""
    jax: str
    """The JAX layer."""
    error: float
    """Its own relative error."""
    slot: Slot | None = None
    """The call of the JAX layer."""
    explains: float = 1.0
    """The part of the output's error that is there with this error alone, all others taken away."""

    def __str__(self) -> str:
        return self.path


@dataclasses.dataclass
class LayerError:
    """One pair of calls, and its errors in either direction."""

    torch: str
    jax: str
    kind: str
    time: int
    forward: float
    """The error of its output in the whole model, inherited and own."""
    own_forward: float
    """Its own error, given the reference's input."""
    own_input: float
    """The error of the code before it, given the reference's outputs of the layers before."""
    backward: float
    """The error of the cotangent of its output in the whole model."""
    own_backward: float
    """The error of its own pull-back, given the reference's cotangent."""
    own_behind: float
    """The error of what the code behind it sends back, given the reference's cotangents there."""
    own_weights: float
    """The error of its weights' gradients, given the reference's inputs and cotangents."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """A likely reason, and the line that mends it."""

    id: str
    """A short name, such as ``gelu-form``; ``unknown`` where nothing known fits."""
    text: str
    """The reason in a sentence, with its figures."""
    mend: str
    """What to write instead."""
    path: str = ""
    """The torch layer."""
    proven: bool = False
    """Whether the difference was reproduced from the reason, and not only named after a pattern."""
    also: tuple[str, ...] = ()
    """Other layers with the same."""

    def __str__(self) -> str:
        others = f" (also {', '.join(self.also[:3])}{' ...' if len(self.also) > 3 else ''})" if self.also else ""
        where = f"{self.path}{others}: " if self.path else ""
        return f"{where}{self.text} {self.mend}".strip()


@dataclasses.dataclass
class Result:
    """One quantity."""

    name: str
    leaves: list[Leaf]
    verdict: str
    """``agree``, ``differ`` (another definition), ``noisy`` (the same definition, but more rounding than torch's own
    allows) or ``failed`` (one side could not compute it)."""
    reason: str = ""
    seconds: float = 0.0

    @property
    def error(self) -> float:
        """The largest relative error in float64."""
        return max((leaf.error for leaf in self.leaves), default=0.0)

    @property
    def noise(self) -> float | None:
        """The largest multiple of torch's own rounding error."""
        found = [leaf.noise for leaf in self.leaves if leaf.noise is not None]
        return max(found) if found else None

    @property
    def worst(self) -> Leaf | None:
        """The leaf that differs most."""
        return max(self.leaves, key=lambda leaf: (leaf.error, leaf.noise or 0.0), default=None)


@dataclasses.dataclass
class Report:
    """The result of ``pair.check()``."""

    results: list[Result]
    layers: list[LayerError]
    first_divergence: Divergence | None
    causes: list[Cause]
    meta: dict[str, Any]
    divergences: list[Divergence] = dataclasses.field(default_factory=list)
    """Every place where the models part by themselves, the one that explains most first."""

    @property
    def ok(self) -> bool:
        """Whether every quantity agrees."""
        return all(result.verdict == "agree" for result in self.results)

    @property
    def differs(self) -> bool:
        """Whether a quantity differs; one that a side cannot compute leaves the question open."""
        return any(result.verdict in ("differ", "noisy") for result in self.results)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.ok or self.differs:
            return "the models agree" if self.ok else "the models differ"
        failed = [result.name for result in self.results if result.verdict == "failed"]
        return f"nothing differs, but {', '.join(failed)} could not be computed"

    def explain(self) -> str:
        """Return the causes in words, one a line."""
        return "\n".join(map(str, self.causes))

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Return the report as a table of text."""
        head = f"{'quantity':<20} {'verdict':<8} {'error f64':>10} {'x noise':>8}  worst leaf"
        lines = [head, "-" * len(head)]
        for r in self.results:
            worst = r.worst
            where = f"{worst.torch} <-> {worst.jax}" if worst is not None and r.verdict != "agree" else ""
            noise = f"{r.noise:.1f}" if r.noise is not None else ""
            lines.append(f"{r.name:<20} {r.verdict:<8} {r.error:>10.1e} {noise:>8}  {r.reason or where}".rstrip())
        if self.first_divergence is not None:
            d = self.first_divergence
            lines += ["", f"first divergence, {d.stage}: {d.path} ({d.where}; JAX: {d.jax}), own error {d.error:.1e}"]
        lines += [
            f"another divergence: {d.path} ({d.where}; JAX: {d.jax}), own error {d.error:.1e}, alone it makes"
            f" {d.explains:.2g} of the output's error"
            for d in self.divergences[1:SHOWN]
        ]
        if len(self.divergences) > SHOWN:
            lines.append(f"... and {len(self.divergences) - SHOWN} more divergences")
        lines += [f"cause: {cause}" for cause in self.causes]
        lines += [f"note: {note}" for note in self.meta.get("islands", ())]
        lines += [f"note: {remark}" for remark in self.meta.get("remarks", [])]
        lines += ["", self.verdict]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; numbers that JSON lacks are ``None``."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "first_divergence": _plain(self.first_divergence),
            "divergences": _plain(self.divergences),
            "causes": _plain(self.causes),
            "results": [_plain_result(r) for r in self.results],
            "layers": _plain(self.layers),
            "meta": _plain(self.meta),
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1)

    def to_junit(self) -> str:
        """Return the report as JUnit XML, a test case for every quantity."""
        wrong = sum(r.verdict != "agree" for r in self.results)
        suite = ET.Element("testsuite", name="jaxgrad check", tests=str(len(self.results)), failures=str(wrong))
        for r in self.results:
            case = ET.SubElement(suite, "testcase", classname="jaxgrad.check", name=r.name, time=f"{r.seconds:.3f}")
            if r.verdict != "agree":
                fault = ET.SubElement(case, "failure", message=_legal(f"{r.verdict}: {r.reason or r.error}"))
                fault.text = _legal(self.table())
        out = io.BytesIO()
        ET.ElementTree(suite).write(out, encoding="utf-8", xml_declaration=True)
        return out.getvalue().decode()

    def to_html(self) -> str:
        """Return the report as one self-contained page."""
        from jaxgrad.verify.report._html import page

        return page(self.to_dict(), "check")


def _plain_result(result: Result) -> dict[str, Any]:
    """Return a quantity with its figures and those of its leaves."""
    leaves = [{**_plain(leaf), "noise": _number(leaf.noise)} for leaf in result.leaves]
    return {**_plain(result), "error": _number(result.error), "noise": _number(result.noise), "leaves": leaves}


def _legal(text: str) -> str:
    """Drop characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 32)


def _plain(value: Any) -> Any:
    """Turn dataclasses, tuples and numbers into what JSON holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> float | None:
    """Return a number that JSON has; infinity becomes a very large one, NaN nothing."""
    if value is None or math.isnan(value):
        return None
    return math.copysign(1e300, value) if math.isinf(value) else float(value)

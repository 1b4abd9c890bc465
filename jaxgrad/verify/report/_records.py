"""What a check found, as plain data: leaves, quantities, layers, divergences, causes, and the report of them all."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from jaxgrad.verify.judge import allowed_multiple
from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE
from jaxgrad.verify.report._document import Column, Document, Fix, Judged, Table
from jaxgrad.verify.report._forms import Forms
from jaxgrad.verify.report._json import number, plain
from jaxgrad.verify.report._words import LEGEND, SURE, compared

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
    """The greatest absolute difference of an entry."""
    index: tuple[int, ...] = ()
    """Where the greatest difference is."""
    got: float = 0.0
    """JAX's number there."""
    want: float = 0.0
    """torch's number there."""
    ratio: float = 1.0
    """The norm of JAX's array over torch's."""
    cosine: float = 1.0
    """The cosine between the two arrays."""
    noise_by: dict[str, float] = dataclasses.field(default_factory=dict)
    """The error at every working precision, in multiples of torch's own error there."""
    note: str = ""
    """What is wrong beside the numbers: a shape, a side that lacks it."""
    size: int = 0
    """How many entries it has."""
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
    """One pair of calls, and its errors in either direction; where nothing differs, its own are those in the model."""

    torch: str
    """The path of the torch layer; empty for the model's output."""
    jax: str
    """The path of the JAX layer."""
    kind: str
    """The class of the torch layer."""
    time: int
    """How often it was called before."""
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
    """A likely reason, and the line that puts it right."""

    id: str
    """A short name, such as ``gelu-form``; ``unknown`` where nothing known fits."""
    text: str
    """The reason in a sentence, with its figures."""
    fix: str
    """What to write instead."""
    path: str = ""
    """The torch layer."""
    proven: bool = False
    """Whether the difference was reproduced from the reason, and not only named after a pattern."""
    also: tuple[str, ...] = ()
    """Other layers with the same."""

    @property
    def mend(self) -> str:
        """The old word for ``fix``."""
        return self.fix

    def __str__(self) -> str:
        return str(self._as_fix())

    def _as_fix(self) -> Fix:
        """Return it as a report shows it."""
        return Fix(self.id, self.path, self.text, self.fix, self.proven, self.also)


@dataclasses.dataclass
class Result:
    """One quantity."""

    name: str
    """Its name, one of `jaxgrad.verify.QUANTITIES`."""
    leaves: list[Leaf]
    """What was compared, array by array."""
    verdict: str
    """``agree``, ``differ`` (another definition), ``noisy`` (the same definition, but more rounding than torch's own
    allows) or ``failed`` (one side could not compute it)."""
    reason: str = ""
    """Why it does not agree, where the leaves do not say it."""
    seconds: float = 0.0
    """How long it took to compute on both sides."""

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
class Report(Forms):
    """The result of ``pair.check()``."""

    results: list[Result]
    """The quantities, in the order in which they were asked for."""
    layers: list[LayerError]
    """The layers, in the order of execution, where the models were run layer by layer."""
    first_divergence: Divergence | None
    """Where they part; ``None`` where they agree."""
    causes: list[Cause]
    """Why, and what to write instead."""
    meta: dict[str, Any]
    """What was compared, by what: names, sizes, precisions, tolerances, versions, the day."""
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

    def document(self) -> Document:
        """Return what every form is written from."""
        meta = self.meta
        return Document(
            command=meta.get("command", "check"),
            ok=self.ok,
            verdict=self.verdict,
            compared=compared(meta),
            tables=[self._quantities(), *self._leaves(), self._layers()],
            fixes=[cause._as_fix() for cause in self.causes],
            places=list(self._places()),
            notes=[*meta.get("islands", ()), *meta.get("remarks", ())],
            legend=(*LEGEND, *([SURE] if self.causes else [])),
            judged=[self._judged(result) for result in self.results],
            seconds=float(meta.get("seconds", 0.0)),
            date=meta.get("date", ""),
            limit=self._limit,
            data=self._data,
        )

    @property
    def _limit(self) -> float:
        """The largest error that agrees."""
        return float(self.meta.get("tolerance_f64", DEFINITION_F64))

    def _quantities(self) -> Table:
        """Return a row for every quantity."""
        rows = []
        for r in self.results:
            worst = r.worst if r.verdict != "agree" else None
            where = f"{worst.torch} <-> {worst.jax}" if worst is not None else ""
            error = r.error if r.leaves else None
            rows.append((r.name, r.verdict, error, r.noise, r.reason or where))
        columns = (Column("quantity", least=19), Column("verdict", "verdict"), Column("error f64", "error"),
                   Column("rounding", "multiple"), Column("worst leaf", "path", joins=True))  # fmt: skip
        return Table("Quantities", columns, rows)

    def _leaves(self) -> Iterator[Table]:
        """Yield the leaves that differ, the worst first, and those that agree."""
        apart: list[tuple[Any, ...]] = []
        alike: list[tuple[Any, ...]] = []
        for r in self.results:
            for leaf in sorted(r.leaves, key=lambda leaf: -leaf.error):
                (apart if self._differs(r, leaf) else alike).append(_cells(r.name, leaf))
        yield Table("Leaves that differ", LEAF, apart, "got is JAX's number at the place of the greatest difference,"
                    " want is torch's; apart is how many entries differ.", in_text=False)  # fmt: skip
        yield Table("Leaves that agree", LEAF, alike, folded=True, in_text=False)

    def _differs(self, result: Result, leaf: Leaf) -> bool:
        """Say whether a leaf is one of those that made its quantity differ."""
        if result.verdict not in ("differ", "noisy"):
            return False
        allowed = allowed_multiple(leaf.size, self.meta.get("noise_limit", NOISE_MULTIPLE))
        return not leaf.error <= self._limit or (leaf.noise is not None and not leaf.noise <= allowed)

    def _layers(self) -> Table:
        """Return a row for every pair of calls, with its own errors."""
        columns = (Column("layer", "path"), Column("forward", "heat"), Column("backward", "heat"),
                   Column("in the whole model", "error"), Column("backward there", "error"),
                   Column("JAX layer", "path"))  # fmt: skip
        rows = [
            (row.torch or "(output)", max(row.own_forward, row.own_input),
             max(row.own_backward, row.own_behind, row.own_weights), row.forward, row.backward, row.jax)
            for row in self.layers
        ]  # fmt: skip
        about = (
            "In the order of execution. forward and backward are a layer's own errors, given the reference's inputs"
            " and cotangents; the others hold what it inherits. Where nothing differs the two are the same."
        )
        return Table("Layers", columns, rows, about, in_text=False)

    def _places(self) -> Iterator[str]:
        """Yield the divergences in words, the weightiest first."""
        if self.first_divergence is not None:
            d = self.first_divergence
            yield f"first divergence, {d.stage}: {d.path} ({d.where}; JAX: {d.jax}), own error {d.error:.1e}"
        for d in self.divergences[1:SHOWN]:
            yield (
                f"another divergence: {d.path} ({d.where}; JAX: {d.jax}), own error {d.error:.1e}, alone it makes"
                f" {d.explains:.2g} of the output's error"
            )
        if len(self.divergences) > SHOWN:
            yield f"... and {len(self.divergences) - SHOWN} more divergences"

    def _judged(self, result: Result) -> Judged:
        """Return a quantity as a test case."""
        command, worst = self.meta.get("command", "check"), result.worst
        where = f" at {worst.torch or worst.jax}" if worst is not None else ""
        message = f"{result.verdict}: {result.reason or f'error {result.error:.1e}{where}'}"
        figures = f"error in float64: {result.error:.3e}" if result.leaves else ""
        if result.noise is not None:
            figures += f"\nrounding: {result.noise:.3g} times torch's"
        told = [*self._places(), *(f"{fix.sure} cause: {fix}" for fix in (cause._as_fix() for cause in self.causes))]
        details = "\n".join([message, *(_told(leaf) for leaf in result.leaves if self._differs(result, leaf)), *told])
        return Judged(f"jaxgrad.{command}", result.name, result.verdict, result.seconds, message, details, figures)

    def _data(self) -> dict[str, Any]:
        """Return plain data; numbers that JSON lacks are ``None``."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "first_divergence": plain(self.first_divergence),
            "divergences": plain(self.divergences),
            "causes": plain(self.causes),
            "results": [_plain_result(r) for r in self.results],
            "layers": plain(self.layers),
            "meta": plain(self.meta),
        }


LEAF = (Column("quantity"), Column("torch leaf", "path"), Column("error f64", "error"), Column("got", "number"),
        Column("want", "number"), Column("at"), Column("apart"), Column("norm ratio", "number"),
        Column("rounding", "multiple"), Column("JAX leaf", "path"), Column("note", "path"))  # fmt: skip


def _cells(quantity: str, leaf: Leaf) -> tuple[Any, ...]:
    """Return the row of a leaf."""
    seen = bool(leaf.size)
    numbers = (leaf.got, leaf.want) if seen else (None, None)
    at = str(list(leaf.index)) if leaf.index else ""
    share = f"{leaf.mismatched} of {leaf.size}" if leaf.mismatched else ""
    ratio = leaf.ratio if seen else None
    return (quantity, leaf.torch, leaf.error, *numbers, at, share, ratio, leaf.noise, leaf.jax, leaf.note)


def _told(leaf: Leaf) -> str:
    """Return a leaf in a line."""
    numbers = f", {leaf.got:.6g} in JAX, {leaf.want:.6g} in torch at {list(leaf.index)}" if leaf.size else ""
    note = f" ({leaf.note})" if leaf.note else ""
    return f"{leaf.torch} <-> {leaf.jax}: error {leaf.error:.1e}{numbers}{note}"


def _plain_result(result: Result) -> dict[str, Any]:
    """Return a quantity with its figures and those of its leaves."""
    leaves = [{**plain(leaf), "noise": number(leaf.noise)} for leaf in result.leaves]
    return {**plain(result), "error": number(result.error), "noise": number(result.noise), "leaves": leaves}

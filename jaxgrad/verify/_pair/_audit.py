"""Before anything is compared: is every weight mapped once, are the settings alike, and what do differences cost?"""

import dataclasses
import json
import math
import time
from typing import Any

import jax
import numpy as np

from jaxgrad.verify._pair._configs import jax_configs, torch_configs
from jaxgrad.verify._pair._jax_side import flatten, precision
from jaxgrad.verify._pair._measure import relative
from jaxgrad.verify._pair._report import _plain

__all__ = ["Audit", "Setting", "audit", "compare_weights"]


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
        lines += [f"torch key without a place: {key}" for key in self.unused]
        lines += [f"JAX leaf without a value: {path}" for path in self.unfilled]
        lines += [f"shapes do not fit: {text}" for text in self.conflicts]
        for s in self.settings:
            mark = "note" if s.harmless else "differs"
            lines.append(
                f"{mark}: {s.torch} <-> {s.jax}: {s.name} is {s.torch_value} in torch, {s.jax_value} in JAX; {s.effect}"
            )
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, "", "the audit found nothing" if self.ok else "the audit found differences"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"ok": self.ok, **_plain(self)}

    def to_json(self) -> str:
        """Return the audit as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1)


def audit(bound: Any, *, prove: bool = True) -> Audit:
    """Audit mapping and settings.

    Args:
        bound: The pair.
        prove: Whether ambiguous entries are proven, by the port's own weights or by the gradients of both models.

    Returns:
        The findings.
    """
    begun = time.perf_counter()
    mapping = bound.mapping
    with precision():
        from jaxgrad.verify._pair._check import _settle_flattening

        _settle_flattening(bound)
        proofs = _proofs(bound) if prove and any(e.ambiguous for e in bound.mapping.entries) else {}
    entries = [
        {"jax": e.jax, "torch": list(e.torch), "rule": e.rule, "ambiguous": e.ambiguous,
         "proof": proofs.get(e.jax, "") if e.ambiguous else ""}
        for e in bound.mapping.entries
    ]  # fmt: skip
    found = Audit(
        entries, list(mapping.unused), list(mapping.unfilled), _conflicts(bound), settings(bound), _notes(bound)
    )
    found.seconds = time.perf_counter() - begun
    return found


def _proofs(bound: Any) -> dict[str, str]:
    """Prove entries: with weights of its own the port is compared by value, else both gradients are."""
    if bound.options["weights"] == "own":
        return {
            row["jax"]: "proven by value" if row["error"] < 1e-5 else f"wrong by value: {row['note']}"
            for row in compare_weights(bound)
        }
    from jaxgrad.verify._pair._quantities_jax import JaxQuantities
    from jaxgrad.verify._pair._quantities_torch import TorchQuantities

    small = _first_examples(bound)
    try:
        want = {n: g.numpy() for n, g in TorchQuantities(small, "float64").basic()["gradient"].items()}
        got = JaxQuantities(small, "float64").basic()["gradient"]
    except Exception as error:
        return dict.fromkeys(bound.jax_paths, f"not proven: {type(error).__name__}")
    floor = 1e-3 * math.sqrt(sum(float(np.sum(g**2)) for g in want.values()))
    proofs = {}
    for entry in bound.mapping.entries:
        keys = [k for k in entry.torch if k in want]
        errors = [relative(np.asarray(got[k]), want[k], floor) for k in keys]
        if not keys:
            proofs[entry.jax] = "not proven: it has no gradient"
        elif max(errors) < 1e-9:
            proofs[entry.jax] = "proven by gradient"
        else:
            proofs[entry.jax] = "not proven: the gradients differ, here or further on"
    return proofs


def _first_examples(bound: Any) -> Any:
    """Return the pair with two examples of its batch, which prove as much as all."""
    import copy

    small = copy.copy(bound)
    if bound.options["mode"] == "eval":
        small.batch = tuple(a[:2] for a in bound.batch)
    return small


def compare_weights(bound: Any) -> list[dict[str, Any]]:
    """Compare the port's own weights with torch's, and name rearrangements."""
    tensors: dict[str, Any] = {**bound.torch.params, **bound.torch.buffers}
    own = {**flatten(bound.jax.params), **flatten(bound.jax.rest)}
    rows = []
    for entry in bound.mapping.entries:
        want, got = np.asarray(entry.make(*(tensors[k] for k in entry.torch))), np.asarray(own[entry.jax], np.float64)
        error = relative(got, want)
        note = "" if error < 1e-5 else _rearrangement(got, want)
        rows.append({"jax": entry.jax, "torch": list(entry.torch), "error": error, "note": note})
    return rows


def _rearrangement(got: np.ndarray, want: np.ndarray) -> str:
    """Say how one array is a rearrangement of another."""
    if got.ndim >= 2 and got.shape == got.T.shape and relative(got, want.T) < 1e-5:
        return "it is the transpose"
    for axis in range(got.ndim):
        if relative(np.flip(got, axis), want) < 1e-5:
            return f"it is reversed along axis {axis}"
    if relative(np.sort(got.ravel()), np.sort(want.ravel())) < 1e-5:
        return "it holds the same numbers in another order"
    ratio = float(np.linalg.norm(got)) / max(float(np.linalg.norm(want)), 1e-300)
    return f"it holds other numbers (the ratio of the norms is {ratio:.3g})"


def _conflicts(bound: Any) -> list[str]:
    """Pair up what is left over on both sides by likeness of names, to say which shapes do not fit."""
    from jaxgrad.verify._pair._mapping import _likeness

    tensors = {**bound.torch.params, **bound.torch.buffers}
    leaves = {**flatten(bound.jax.params), **flatten(bound.jax.rest)}
    found = []
    for key in bound.mapping.unused:
        rivals = [(p, _likeness(key, p)) for p in bound.mapping.unfilled if key.endswith("bias") == p.endswith("bias")]
        if rivals and key in tensors:
            path = max(rivals, key=lambda item: item[1])[0]
            found.append(f"{key} {tensors[key].shape} and {path} {np.shape(leaves[path])}")
    return found


def settings(bound: Any) -> list[Setting]:
    """Compare the settings of layers that the mapping links, and the forms of functions without weights."""
    theirs, ours = torch_configs(bound.torch.module), jax_configs(bound.jax)
    found: list[Setting] = []
    for path, other in bound.mapping.links:
        path = path.split("#")[0]
        if path in theirs and other in ours:
            found += _linked(bound, path, other, theirs[path], ours[other])
    return found + _gelu(bound, theirs) + _dtypes(ours)


def _linked(bound: Any, path: str, other: str, t: dict[str, Any], j: dict[str, Any]) -> list[Setting]:
    """Compare one pair of layers."""
    found = []

    def note(name: str, a: Any, b: Any, effect: str, *, harmless: bool = False) -> None:
        found.append(Setting(path, other, name, str(a), str(b), effect, harmless))

    if "epsilon" in j and "eps" in t:
        eps = t["eps"] if t["eps"] is not None else 1.1920929e-07
        if not math.isclose(eps, float(j["epsilon"]), rel_tol=1e-9):
            effect = f"about {abs(eps - float(j['epsilon'])) / 2:.1e} of the output at unit variance"
            note("epsilon", f"{eps:g}", f"{float(j['epsilon']):g}", effect)
    if "BatchNorm" in t["kind"]:
        kept = None if t.get("momentum") is None else 1 - t["momentum"]
        if kept is not None and "momentum" in j and not math.isclose(kept, j["momentum"], rel_tol=1e-9):
            effect = f"running statistics move {(1 - j['momentum']) / (1 - kept):.3g} times as far in a step"
            note("momentum", f"{t['momentum']:g} (keeps {kept:g})", f"keeps {j['momentum']:g}", effect,
                 harmless=bound.options["mode"] == "eval")  # fmt: skip
        n = bound.batch[0].shape[0] * math.prod(bound.batch[0].shape[2:])
        note("running variance", "unbiased", "biased", f"its step is N/(N-1) = {n / max(n - 1, 1):.4g} times larger in"
             " torch", harmless=True)  # fmt: skip
    if t["kind"].startswith("Conv") and not t["kind"].startswith("ConvTranspose"):
        _convolution(t, j, note)
    if "num_groups" in t and j.get("num_groups") not in (None, t["num_groups"]):
        note("num_groups", t["num_groups"], j["num_groups"], "every output differs")
    if "num_heads" in t and j.get("num_heads") not in (None, t["num_heads"]):
        note("num_heads", t["num_heads"], j["num_heads"], "every output differs")
    if j.get("use_fast_variance"):
        note("variance", "two passes", "E[x^2] - E[x]^2", "loses digits where the mean is large", harmless=True)
    if "kernel_init" in j and t["kind"] in ("Linear", "Conv2d", "Conv1d"):
        kernel = bound.torch.params.get(f"{path}.weight")
        if kernel is not None and kernel.ndim > 1:
            fan = kernel.size // kernel.shape[0]
            a, b = (3 * fan) ** -0.5, fan**-0.5
            note("initial weights", f"std {a:.3g}", f"std {b:.3g} (lecun normal)", f"{b / a:.2f} times larger in JAX",
                 harmless=True)  # fmt: skip
    return found


def _convolution(t: dict[str, Any], j: dict[str, Any], note: Any) -> None:
    """Compare the geometry of a convolution."""
    n = 2 if t["kind"] == "Conv2d" else 1

    def spread(value: Any, default: int = 1) -> tuple[int, ...]:
        value = default if value is None else value
        return (value,) * n if isinstance(value, int) else tuple(value)

    size, stride, dilation = spread(t["kernel_size"]), spread(t["stride"]), spread(t["dilation"])
    for name, a, b in (("stride", stride, spread(j.get("strides"))),
                       ("dilation", dilation, spread(j.get("kernel_dilation")))):  # fmt: skip
        if a != b:
            note(name, a, b, "every output differs")
    padding = j.get("padding")
    if isinstance(t["padding"], str) or padding is None:
        return
    pads = [(p, p) for p in spread(t["padding"], 0)]
    if isinstance(padding, str):
        total = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
        # with a stride SAME depends on the size of the image, and pads more at the end
        even = all(s == 1 and w % 2 == 0 for s, w in zip(stride, total, strict=True))
        ours = [(w // 2, w - w // 2) for w in total] if padding.upper() == "SAME" else [(0, 0)] * n
        uneven = padding.upper() == "SAME" and not even and any(w for w in total)
        if padding.upper() in ("SAME", "VALID") and (ours != pads or uneven):
            note("padding", t["padding"], padding, "border pixels differ" if not uneven else "every output may differ")
        return
    shown = [
        (p, p) if isinstance(p, int) else tuple(p) for p in ([padding] * n if isinstance(padding, int) else padding)
    ]
    if shown != pads:
        note("padding", pads, shown, "border pixels differ")


def _gelu(bound: Any, theirs: dict[str, dict[str, Any]]) -> list[Setting]:
    """Compare torch's GELU modules with what the JAX program contains: erf, tanh, or both."""
    forms = {t.get("approximate") for t in theirs.values() if t["kind"] == "GELU"}
    if len(forms) != 1:
        return []
    from jaxgrad.verify._pair._torch_side import split

    params, rest = bound.jax.params, bound.jax.rest
    inputs, _ = split(bound.adapt(*bound.data("float32")))
    text = str(jax.make_jaxpr(lambda p, r, *x: bound.jax.apply(p, r, *x)[0])(params, rest, *inputs))
    exact = "erf" in text
    if (forms == {"none"}) == exact:
        return []
    names = ("erf", "tanh") if forms == {"none"} else ("tanh", "erf")
    path = next(p for p, t in theirs.items() if t["kind"] == "GELU")
    return [Setting(path, "", "GELU", *names, "up to 5e-4 absolute")]


def _dtypes(ours: dict[str, dict[str, Any]]) -> list[Setting]:
    """Name layers that compute in a dtype of their own."""
    found = []
    for path, settings_ in ours.items():
        dtype = settings_.get("dtype")
        if dtype is not None and not isinstance(dtype, str):
            name = getattr(dtype, "__name__", str(dtype))
            found.append(Setting("", path, "dtype", "that of the input", name, "rounds to it whatever it is given"))
    return found


def _notes(bound: Any) -> list[str]:
    """Say what else a reader should know."""
    notes = []
    if bound.torch.frozen:
        notes.append(f"frozen in torch (requires_grad=False): {', '.join(sorted(bound.torch.frozen))}")
    if bound.torch.aliases:
        notes.append(f"tied in torch: {', '.join(f'{a} = {b}' for a, b in bound.torch.aliases.items())}")
    if bound.torch.excited:
        count = len(bound.torch.excited)
        notes.append(f"{count} constant tensors are moved a little on both sides, since they would hide differences")
    return notes

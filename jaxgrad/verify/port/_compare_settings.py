"""Settings of paired layers that differ, and what the difference does to the numbers."""

import math
from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import DEFINITION_F64, F32_UNIT, RECOGNISED
from jaxgrad.verify.port.frameworks._layer_settings import jax_configs, torch_configs
from jaxgrad.verify.report._audit import Setting

__all__ = ["settings"]


def settings(bound: Any, program: Any) -> list[Setting]:
    """Compare the settings of layers that the mapping links, and the forms of functions without weights.

    Args:
        bound: The pair.
        program: The jaxpr of the JAX model; ``None`` where it cannot be traced in float64.
    """
    theirs, ours = torch_configs(bound.torch.module), jax_configs(bound.jax)
    found: list[Setting] = []
    for path, other in bound.mapping.links:
        path = path.split("#")[0]
        if path in theirs and other in ours:
            found += _linked(bound, path, other, theirs[path], ours[other])
    effect = "the first training step moves them apart"
    apart = [Setting(key, ", ".join(paths), "tied weights", "one tensor", f"{len(paths)} leaves", effect)
             for key, paths in bound.untied().items()]  # fmt: skip
    return (
        found + apart + _trained_alone(bound) + _spectral(bound, theirs, ours) + _gelu(theirs, program) + _dtypes(ours)
    )


def _trained_alone(bound: Any) -> list[Setting]:
    """Name parameters of JAX's that are buffers in torch: equal now, and one side trains them."""
    effect = "equal here; an optimizer moves it in JAX alone"
    return [
        Setting(entry.torch[0], entry.jax, "kind of tensor", "a buffer", "a parameter", effect, harmless=True)
        for entry in bound.mapping.entries
        if entry.jax in bound.jax_paths and all(key in bound.torch.buffers for key in entry.torch)
    ]


def _linked(bound: Any, path: str, other: str, t: dict[str, Any], j: dict[str, Any]) -> list[Setting]:
    """Compare one pair of layers."""
    found = []

    def note(name: str, a: Any, b: Any, effect: str, *, harmless: bool = False) -> None:
        found.append(Setting(path, other, name, str(a), str(b), effect, harmless))

    if "epsilon" in j and "eps" in t:
        eps = t["eps"] if t["eps"] is not None else F32_UNIT
        if not math.isclose(eps, float(j["epsilon"]), rel_tol=RECOGNISED):
            effect = f"about {abs(eps - float(j['epsilon'])) / 2:.1e} of the output at unit variance"
            note("epsilon", f"{eps:g}", f"{float(j['epsilon']):g}", effect)
    if "BatchNorm" in t["kind"]:
        kept = None if t.get("momentum") is None else 1 - t["momentum"]
        if kept is not None and "momentum" in j and not math.isclose(kept, j["momentum"], rel_tol=RECOGNISED):
            effect = f"running statistics move {(1 - j['momentum']) / (1 - kept):.3g} times as far in a step"
            note("momentum", f"{t['momentum']:g} (keeps {kept:g})", f"keeps {j['momentum']:g}", effect,
                 harmless=bound.options.mode == "eval")  # fmt: skip
        n = math.prod(bound.batch[0].shape[:1] + bound.batch[0].shape[2:])
        note("running variance", "unbiased", "biased", f"its step is N/(N-1) = {n / max(n - 1, 1):.4g} times larger in"
             " torch", harmless=True)  # fmt: skip
    if t.get("transposed") is False and "strides" in j:
        _convolution(t, j, note)
    if "num_groups" in t and j.get("num_groups") not in (None, t["num_groups"]):
        note("num_groups", t["num_groups"], j["num_groups"], "every output differs")
    if "num_heads" in t and j.get("num_heads") not in (None, t["num_heads"]):
        note("num_heads", t["num_heads"], j["num_heads"], "every output differs")
    if j.get("use_fast_variance"):
        note("variance", "two passes", "E[x^2] - E[x]^2", "loses digits where the mean is large", harmless=True)
    return found


def _convolution(t: dict[str, Any], j: dict[str, Any], note: Any) -> None:
    """Compare the geometry of a convolution."""
    n = len(t["kernel_size"])

    def spread(value: Any, default: int = 1) -> tuple[Any, ...]:
        value = default if value is None else value
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * n if len(values) == 1 else values

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
    shown = [(p, p) if isinstance(p, int) else tuple(p) for p in spread(padding)]
    if shown != pads:
        note("padding", pads, shown, "border pixels differ")


def _spectral(bound: Any, theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> list[Setting]:
    """Compare the power iterations of spectral norm: torch's evaluation takes what it keeps, Flax's goes one step on.

    Flax keeps ``u`` alone, and makes ``v`` of it and ``u`` anew at every call; both reach the same norm in the end.
    """
    other = next((path for path, j in ours.items() if j["kind"] == "SpectralNorm"), None)
    found = []
    for path in [path for path, t in theirs.items() if t["kind"] == "_SpectralNorm"] if other is not None else []:
        layer = path.rpartition(".parametrizations.")[0]
        held = {**bound.torch.params, **bound.torch.buffers}
        weight, u, v = (held.get(f"{path}{name}") for name in (".original", "._u", "._v"))
        weight = held.get(f"{path.rpartition('.')[0]}.original") if weight is None else weight
        if weight is None or u is None or v is None or u.size != weight.shape[0] or bound.options.mode != "eval":
            continue
        matrix = weight.reshape(len(weight), -1)
        step = matrix.T @ u
        onward = np.linalg.norm(matrix @ (step / np.linalg.norm(step)))
        apart = abs(float(onward / (u @ matrix @ v)) - 1)
        effect = f"the weight differs by {apart:.1e} of itself; iterate torch's longer before it is carried over"
        found.append(Setting(layer, other or "", "power iteration", "as it is kept", "a step further at every call",
                             effect, harmless=apart < DEFINITION_F64))  # fmt: skip
    return found


def _gelu(theirs: dict[str, dict[str, Any]], program: Any) -> list[Setting]:
    """Compare torch's GELU modules with what the JAX program contains: erf, tanh, or both."""
    forms = {t.get("approximate") for t in theirs.values() if t["kind"] == "GELU"}
    if len(forms) != 1 or program is None:
        return []
    exact = "erf" in str(program)
    if (forms == {"none"}) == exact:
        return []
    names = ("erf", "tanh") if forms == {"none"} else ("tanh", "erf")
    path = next(p for p, t in theirs.items() if t["kind"] == "GELU")
    return [Setting(path, "", "GELU", *names, "up to 0.0005 absolute")]


def _dtypes(ours: dict[str, dict[str, Any]]) -> list[Setting]:
    """Name layers that compute in a dtype of their own."""
    found = []
    for path, settings_ in ours.items():
        dtype = settings_.get("dtype")
        # NNX's embedding notes the dtype that its table was made in, and a check lets it follow the table
        follows = settings_["kind"] == "Embed" and dtype == settings_.get("param_dtype")
        if dtype is not None and not isinstance(dtype, str) and not follows:
            name = getattr(dtype, "__name__", str(dtype))
            found.append(Setting("", path, "dtype", "that of the input", name, "rounds to it whatever it is given"))
    return found

"""The words of every report: what its columns mean, and what was compared."""

from typing import Any

from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE, NOISE_MULTIPLE_OF_A_NUMBER

__all__ = ["LEGEND", "compared"]

ROUNDING = (
    "rounding",
    "JAX's error in float32, or what else was asked for, in multiples of torch's own rounding error there: 1x is as"
    f" good as torch; allowed {NOISE_MULTIPLE:g}x, for a single number {NOISE_MULTIPLE_OF_A_NUMBER:g}x",
)

ERROR = ("error f64", f"relative L2 error of the worst leaf in float64; allowed {DEFINITION_F64:g}")

SURE = ("cause", "proven where the difference goes away once the fix is applied; likely where only its pattern fits")

LEGEND = (ERROR, ROUNDING)


def compared(meta: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was compared, of what is known of a run: the models, the spec, the batch, versions and the day."""
    versions = meta.get("versions") or {}
    device = f" on {meta['backend']}" if meta.get("backend") else ""
    installed = ", ".join(f"{n} {versions[n]}" for n in ("torch", "jax", "flax", "jaxgrad") if versions.get(n))
    shapes = ", ".join(str(tuple(shape)) for shape in meta.get("batch", ()))
    found = {
        "torch": meta.get("torch", ""),
        "JAX": meta.get("jax", ""),
        "spec": meta.get("spec", ""),
        "runs": meta.get("runs", ""),
        "parameters": f"{meta['parameters']:,}" if meta.get("parameters") else "",
        "batch": shapes,
        "mode": ", ".join(
            filter(None, (meta.get("mode", ""), f"{meta['weights']} weights" if meta.get("weights") else ""))
        ),
        "precisions": ", ".join(meta.get("dtypes", ())),
        "versions": installed + device,
        "date": meta.get("date", "").replace("T", " ")[:16],
    }
    return [(name, value) for name, value in found.items() if value]

"""The libraries that rows compare with where they are installed, and what torch.compile makes of a contender."""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import Any

from bench._agreement import in_a_line
from bench._row import Contender

__all__ = ["LIBRARIES", "compiled_form", "missing", "versions"]

LIBRARIES = {
    "opacus": "opacus",
    "curvlinops": "curvlinops-for-pytorch",
    "higher": "higher",
    "torchopt": "torchopt",
    "torchjd": "torchjd",
    "folx": "folx",
    "backpack": "backpack-for-pytorch",
    "jax_privacy": "jax-privacy",
    "kfac_jax": "kfac-jax",
    "matfree": "matfree",
}
"""By the name that is imported, the name that pip takes."""


def missing() -> list[str]:
    """Return the libraries that are not installed, as pip calls them."""
    return [LIBRARIES[name] for name in LIBRARIES if importlib.util.find_spec(name) is None]


def versions() -> dict[str, str]:
    """Return the versions of those that are installed."""
    found = {}
    for name, package in LIBRARIES.items():
        if importlib.util.find_spec(name) is not None:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = "unknown"
    return found


def compiled_form(contenders: Sequence[Contender]) -> tuple[Contender | None, str]:
    """Return what ``torch.compile`` makes of a row's torch contender, and what is to be said of it.

    Of ``torch.func``, where the row has it, and else of the eager idiom. A whole graph is asked for first; where that
    breaks, what broke is said, and the parts between the breaks are compiled.
    """
    names = [c.name for c in contenders]
    if "torch.compile" in names:
        return None, ""
    own = [c for c in contenders if c.framework == "torch" and c.name.startswith("torch")]
    chosen = next((c for c in own if c.name.startswith("torch.func")), own[0] if own else None)
    if chosen is None:
        return None, ""
    note = f"of {chosen.name}, one graph"
    try:
        run = _compiled(chosen.run, True)
    except Exception as error:  # its own errors are of many classes
        broke = in_a_line(error)
        try:
            run, note = _compiled(chosen.run, False), f"of {chosen.name}, no whole graph: {broke}"
        except Exception as error:
            return None, f"{in_a_line(error)} (of {chosen.name}; a whole graph: {broke})"
    return Contender("torch.compile", "torch", run, read=chosen.read), note


def _compiled(run: Any, whole: bool) -> Any:
    """Compile a call, and call it once: what breaks does so there."""
    import torch

    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=whole)
    compiled()
    return compiled

"""The libraries that rows compare with where they are installed, and what torch.compile makes of a contender."""

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from bench._agreement import in_a_line
from bench._row import Contender

__all__ = ["KFAC_JAX", "LIBRARIES", "compiled_form", "missing", "of_library", "versions"]

LIBRARIES = {
    "opacus": "opacus",
    "curvlinops": "curvlinops-for-pytorch",
    "higher": "higher",
    "torchopt": "torchopt",
    "torchjd": "torchjd",
    "folx": "folx",
    "backpack": "backpack-for-pytorch",
    "jax_privacy": "jax-privacy",
    "matfree": "matfree",
}
"""By the name that is imported, the name that pip takes; kfac-jax is not among them, see `KFAC_JAX`."""

KFAC_JAX = "kfac-jax 0.0.8 unpacks two results of Primitive.get_bind_params, which returns one in JAX 0.10.2: it raises"
"""Why the rows of Kronecker factors have no time of kfac-jax."""


def of_library(
    library: str,
    name: str,
    make: Callable[[], Callable[[], Any]],
    framework: Literal["jax", "torch"] = "torch",
    **more: Any,
) -> Contender:
    """Return a contender that an optional library computes; its row names it as absent where the library is not there.

    Args:
        library: The library, as it is imported.
        name: The contender's name.
        make: Imports the library and returns the call to be timed; not called where the library is not installed.
        framework: What it computes with.
        **more: Further fields of the contender.
    """
    if importlib.util.find_spec(library) is None:
        return Contender(name, framework, _nothing, unable="not installed")
    try:
        run = make()
    except Exception as error:  # a library that does not go with this version of its framework, or lacks a solver
        return Contender(name, framework, _nothing, unable=in_a_line(error))
    return Contender(name, framework, run, **more)


def _nothing() -> Any:
    """Stand for the call of a library that is not installed: nobody calls it."""


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
        run, seconds = _compiled(chosen.run, True)
    except Exception as error:  # its own errors are of many classes
        broke = in_a_line(error)
        try:
            run, seconds = _compiled(chosen.run, False)
            note = f"of {chosen.name}, no whole graph: {broke}"
        except Exception as error:
            return None, f"{in_a_line(error)} (of {chosen.name}; a whole graph: {broke})"
    return Contender("torch.compile", "torch", run, read=chosen.read, compile_s=seconds), note


def _compiled(run: Any, whole: bool) -> tuple[Any, float]:
    """Compile a call, and call it once: what breaks does so there; return the seconds of that, too."""
    import torch

    torch._dynamo.reset()
    start = time.perf_counter()
    compiled = torch.compile(run, fullgraph=whole)
    compiled()
    return compiled, time.perf_counter() - start

"""Tracebacks without the frames of the house, as JAX leaves out its own: an error of a loss ends in the loss.

``JAX_TRACEBACK_FILTERING=off`` shows them, like those of JAX. The networks in `models` and the cases in `verify` are
somebody's loss, and stay.
"""

import traceback
import types
from pathlib import Path
from typing import Any

import jax

__all__ = ["hide", "name_assertion"]

HOME = Path(__file__).parent

OWN = tuple(str(path) for path in HOME.iterdir() if path.name not in ("models", "verify", "cli", "__pycache__"))
"""The files and folders whose frames are left out."""


def hide(error: BaseException) -> None:
    """Take the frames of the house out of the traceback of an error, and of the errors that led to it."""
    if getattr(jax.config, "jax_traceback_filtering", None) == "off":
        return
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.with_traceback(_without_own(one.__traceback__))
            chain += [one.__cause__, one.__context__]


def name_assertion(error: Exception, name: str) -> None:
    """Give an assertion that failed without a word a message: where it stands, and what ran it."""
    if not isinstance(error, AssertionError) or str(error):
        return
    last = traceback.extract_tb(error.__traceback__)[-1]
    error.args = (
        f"{name}: an assertion without a message failed in or below {last.name} ({last.filename}:{last.lineno}), which"
        " is run by the function that is differentiated, or is a derivative rule of one that it calls",
    )


def _without_own(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return a traceback without the frames of the house."""
    kept = None
    for frame, line in reversed(list(traceback.walk_tb(trace))):
        if not frame.f_code.co_filename.startswith(OWN):
            kept = types.TracebackType(kept, frame, frame.f_lasti, line)
    return kept


def _tell_jax() -> None:
    """Let JAX leave the frames out where its own transformations are around a call; there is no public way."""
    try:
        from jax._src.traceback_util import register_exclusion
    except ImportError:
        return
    told: Any = register_exclusion
    for path in OWN:
        told(path)


_tell_jax()

"""Which cases there are, read from the source of their modules: nothing of theirs, nor JAX, is imported for a list."""

import ast
import difflib
import fnmatch
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from jaxgrad._natural import natural
from jaxgrad.verify._errors import CannotRun

__all__ = ["case_titles", "chosen"]

FAMILIES = Path(__file__).with_name("families")
DECORATOR = re.compile(r"^@case(\(.*?\))\n(?=@|def )", re.DOTALL | re.MULTILINE)
"""The line above a case, with its id and its title; to parse the whole of the modules takes ten times as long."""


def case_titles(patterns: str | Sequence[str] | None = None) -> dict[str, str]:
    """Return the titles of the built-in cases by id, without importing what computes them.

    Args:
        patterns: Ids, or patterns of them, as in `select`.

    Returns:
        The titles, in the order of the ids.

    Raises:
        CannotRun: If a pattern matches no case.

    Cost:
        Reads the modules of the cases, a few milliseconds each.

    Example:
        >>> from jaxgrad import verify
        >>> verify.case_titles("H1")
        {'H1': 'Hessian-vector product of the 2-5-1 network'}

    References:
        The table of cases in the README.
    """
    found = dict(pair for path in FAMILIES.glob("*.py") for pair in _defined(path))
    return {name: found[name] for name in chosen(patterns, sorted(found, key=natural))}


def _defined(path: Path) -> list[tuple[str, str]]:
    """Return the ids and titles of a module's ``@case("S1", "...")``."""
    return [ast.literal_eval(found) for found in DECORATOR.findall(path.read_text(encoding="utf-8"))]


def chosen(patterns: str | Sequence[str] | None, known: Collection[str]) -> list[str]:
    """Return the ids that patterns match, in the order of the ids.

    Raises:
        CannotRun: If a pattern matches none.
    """
    if patterns is None:
        return list(known)
    words = [p.strip() for p in (patterns.split(",") if isinstance(patterns, str) else patterns)]
    for word in words:
        if not _matching(word, known):
            close = difflib.get_close_matches(word.upper(), known, n=4, cutoff=0.3)
            hint = f"did you mean {', '.join(close)}?" if close else f"write one of {', '.join(known)}"
            message = f"no case is called {word!r}; {hint} (jaxgrad verify --list shows them all)"
            raise CannotRun(message)
    taken = {name for word in words for name in _matching(word, known)}
    return [name for name in known if name in taken]


def _matching(pattern: str, known: Collection[str]) -> list[str]:
    """Return the ids that a pattern matches, small letters or capital ones."""
    return [name for name in known if fnmatch.fnmatchcase(name.upper(), pattern.upper())]

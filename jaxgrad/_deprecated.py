"""Old spellings, kept for one release: names of functions, keywords, and words that an argument takes.

`NAMES` is the table of names; what is no longer in it is gone. A family whose functions have new names ends in::

    if TYPE_CHECKING:
        value_and_gradient = value_and_grad
    else:
        __getattr__ = old_names(__name__)

Type checkers then give the old name the type of the new, and do not take every other name for one that exists.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from jaxgrad import _frames

__all__ = ["NAMES", "REMOVED_IN", "old_names", "renamed"]

F = TypeVar("F", bound=Callable[..., Any])
"""The whole type of a function."""

REMOVED_IN = "0.2.0"
"""The release without the old spellings; a test fails when the package gets there."""

NAMES: dict[str, dict[str, str]] = {
    "jaxgrad.gradient": {"value_and_gradient": "value_and_grad"},
    "jaxgrad.meta": {
        "first_order_value_and_gradient": "value_and_first_order_gradient",
        "maml_value_and_gradient": "value_and_maml_gradient",
    },
    "jaxgrad.multi_loss": {
        "fresh_updates": "sequential_updates",
        "retained_updates": "simultaneous_updates",
    },
    "jaxgrad.nth": {"estimate_operator": "stochastic_operator"},
    "jaxgrad.per_example": {"project": "random_projection"},
    "jaxgrad.shift": {
        "lookahead_gradient": "extragradient",
        "value_and_gradient": "value_and_grad",
    },
}
"""Module by module, the old name and the new one."""


def old_names(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module that knows its functions by their old names too."""
    names = NAMES[module]

    def __getattr__(name: str) -> Any:  # noqa: N807
        new = names.get(name)
        if new is None:
            message = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(message)
        # `from module import name` asks twice, the first time whether there is such a name
        if sys._getframe(1).f_globals.get("__name__") != "importlib._bootstrap":
            _warn(f"{module}.{name}", f"{module}.{new}", depth=1)
        return getattr(sys.modules[module], new)

    return __getattr__


def renamed(**arguments: str | Mapping[str, str]) -> Callable[[F], F]:
    """Let a function take the old spellings of its keyword arguments, and of the words that they take.

    Args:
        **arguments: ``new="old"`` for a keyword that was called ``old``; ``mode={"old": "new"}`` for a word.

    Returns:
        A decorator; it stands above all others.
    """
    words = {name: table for name, table in arguments.items() if isinstance(table, Mapping)}
    keywords = {old: new for new, old in arguments.items() if isinstance(old, str)}
    looked_at = frozenset((*words, *keywords))

    def decorate(fun: F) -> F:
        @functools.wraps(fun)
        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs and not looked_at.isdisjoint(kwargs):
                kwargs = _current(fun.__name__, kwargs, keywords, words)
            try:
                return fun(*args, **kwargs)
            except Exception as error:
                _frames.hide(error)
                raise

        return cast(F, call)

    return decorate


def _current(
    name: str, given: dict[str, Any], keywords: Mapping[str, str], words: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return keyword arguments in their new spelling.

    Raises:
        TypeError: If an argument is given under both of its names.
    """
    current = {}
    for keyword, value in given.items():
        new = keywords.get(keyword, keyword)
        if new != keyword:
            if new in given:
                message = f"{name}: {keyword}= is the old name of {new}=; give {new}= alone"
                raise TypeError(message)
            _warn(f"{name}: {keyword}=", f"{new}=", depth=2)
        word = words.get(new, {}).get(value) if isinstance(value, str) else None
        if word is not None:
            _warn(f"{name}: {new}={value!r}", f"{new}={word!r}", depth=2)
        current[new] = value if word is None else word
    return current


def _warn(old: str, new: str, depth: int) -> None:
    """Warn of an old spelling, at the line that many frames above the caller of this function."""
    message = f"{old} is now {new}; the old spelling goes in jaxgrad {REMOVED_IN}"
    warnings.warn(message, DeprecationWarning, stacklevel=depth + 2)

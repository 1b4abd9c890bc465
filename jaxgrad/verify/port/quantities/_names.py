"""The names of the quantities that a check compares."""

from collections.abc import Sequence

__all__ = ["ELSEWHERE", "FIRST", "INSIDE", "QUANTITIES", "SECOND", "quantity_names", "steps_of"]

FIRST = ("value", "gradient", "input_gradient")
SECOND = ("hvp", "ggn", "nth", "per_example", "per_example_norms", "meta", "meta_second_order", "shift", "multi_loss")
ELSEWHERE = ("meta", "meta_second_order", "shift")
"""Those that take derivatives of the whole batch at other weights than the given ones."""
INSIDE = ("activations", "activation_gradient")
QUANTITIES = (*FIRST, *INSIDE, *SECOND, "step", "steps:N")
DEFAULT = (*FIRST, *INSIDE, "hvp")
ALL = (*FIRST, *INSIDE, *SECOND, "step", "steps:3")


def quantity_names(what: Sequence[str] | str | None = None) -> list[str]:
    """Return the names of the quantities that a check is asked for.

    Args:
        what: Names, in a list or separated by commas; ``"all"`` stands for every one, ``None`` for the usual ones.

    Returns:
        The names, each once, in the order in which they were asked for.

    Raises:
        ValueError: With the names that are known.

    Cost:
        None: nothing is imported or computed.

    Example:
        >>> from jaxgrad import verify
        >>> verify.quantity_names("value, hvp, steps:3")
        ['value', 'hvp', 'steps:3']

    References:
        The quantities are listed in ``jaxgrad check -h``.
    """
    if what is None:
        return list(DEFAULT)
    words = what.split(",") if isinstance(what, str) else list(what)
    words = [w for word in words for w in (ALL if word == "all" else (word.strip(),))]
    words = [{"grad": "gradient", "input gradient": "input_gradient"}.get(w, w.replace("-", "_")) for w in words]
    known = {*FIRST, *INSIDE, *SECOND, "step"}
    wrong = [w for w in words if w not in known and not (w.startswith("steps:") and w[6:].isdigit() and int(w[6:]))]
    if wrong or not words:
        message = f"what must be among {', '.join(QUANTITIES)} or 'all'; got {', '.join(map(repr, wrong)) or 'nothing'}"
        raise ValueError(message)
    return list(dict.fromkeys(words))


def steps_of(name: str) -> int:
    """Return the number of steps of ``step`` or ``steps:N``."""
    return int(name[6:]) if ":" in name else 1

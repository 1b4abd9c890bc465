"""What the variants of SAM that carry a state are given for one."""

from typing import Any

from jaxgrad import _check, _tree
from jaxgrad._types import Params

__all__ = ["check_state"]


def check_state(state: Any, kind: type, tree: str, init: str, params: Params) -> None:
    """Refuse what is no state of this kind, and one of other parameters; 16 bits and float32 are the same here.

    Args:
        state: What was given.
        kind: What it should be.
        tree: The field that is a tree like the parameters.
        init: The function that makes a fresh one.
        params: The parameters.

    Raises:
        TypeError: If it is of another kind.
        ValueError: If its tree is not like ``params``.
    """
    _check.state(state, kind, f"{init}(params)")
    _check.mirrors(**{"params": _tree.widened(params), f"state.{tree}": _tree.widened(getattr(state, tree))})

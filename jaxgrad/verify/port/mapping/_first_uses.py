"""The order in which a JAX function first uses its parameters, for models whose layers nobody can see."""

from typing import Any

import jax.extend.core

from jaxgrad.verify.judge._arrays import flatten

__all__ = ["first_uses"]


def first_uses(program: Any, params: Any) -> dict[str, int]:
    """Return when each parameter is first used, by path.

    Args:
        program: The jaxpr of a function whose first arguments are the leaves of ``params``.
        params: The parameters.
    """
    order: dict[str, int] = {}
    named = dict(zip(program.invars, flatten(params), strict=False))
    _walk(program, named, order)
    return order


def _walk(program: Any, named: dict[Any, str], order: dict[str, int]) -> None:
    """Note the first equation that reads each parameter; functions that are called are looked into."""
    for equation in program.eqns:
        inside = _inner(equation)
        known = {i: named[v] for i, v in enumerate(equation.invars) if _is_known(v, named)}
        if inside is None:
            for path in known.values():
                order.setdefault(path, len(order))
        else:
            _walk(inside, {inside.invars[i]: path for i, path in known.items()}, order)


def _is_known(variable: Any, named: dict[Any, str]) -> bool:
    """Say whether a variable is a parameter; a literal cannot be looked up."""
    return not isinstance(variable, jax.extend.core.Literal) and variable in named


def _inner(equation: Any) -> Any:
    """Return the function that an equation calls with its own arguments, or ``None``."""
    for value in equation.params.values():
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns") and len(inner.invars) == len(equation.invars):
            return inner
    return None
